package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// contender is one way to read an image.
type contender struct {
	name   string
	server *child // whose processor time counts; may be nil
	pass   func(context.Context) error
	// warm brings what the server reads into the page cache, where a pass that is not counted would take too
	// long; nil means such a pass.
	warm func(context.Context) error
}

// result is what the rounds of one contender gave.
type result struct {
	seconds []float64 // of each counted pass
	cpu     float64   // seconds of the server over all counted passes
}

func (r result) median() float64 { return median(r.seconds) }

// spread is the distance between the best and the worst round over the median.
func (r result) spread() float64 { return spread(r.seconds) }

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func spread(v []float64) float64 {
	m := median(v)
	if m == 0 {
		return 0
	}
	return (slices.Max(v) - slices.Min(v)) / m
}

// race lets contenders take turns. Each begins its turn with a pass that is not counted.
func (b *bench) race(ctx context.Context, all []contender) ([]result, error) {
	results := make([]result, len(all))
	for round := range b.rounds {
		fmt.Printf("  round %d:", round+1)
		for i, c := range all {
			if err := c.ready(ctx); err != nil {
				return nil, err
			}
			before, err := c.cpu()
			if err != nil {
				return nil, err
			}
			begin := time.Now()
			if err := c.once(ctx); err != nil {
				return nil, err
			}
			took := time.Since(begin).Seconds()
			after, err := c.cpu()
			if err != nil {
				return nil, err
			}
			results[i].seconds = append(results[i].seconds, took)
			results[i].cpu += after - before
			fmt.Printf("  %s %.2f s", c.name, took)
		}
		fmt.Println()
	}
	return results, nil
}

// ready makes the contender ready for a pass that counts.
func (c contender) ready(ctx context.Context) error {
	if c.warm != nil {
		return c.warm(ctx)
	}
	return c.once(ctx)
}

// readFile brings a file into the page cache.
func readFile(path string) func(context.Context) error {
	return func(context.Context) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
		return err
	}
}

// longestPass is how long one pass may take; whoever takes longer hangs.
const longestPass = 3 * time.Minute

// once makes one pass.
func (c contender) once(ctx context.Context) error {
	ctx, stop := context.WithTimeoutCause(ctx, longestPass, fmt.Errorf("no end after %s", longestPass))
	defer stop()
	if err := c.pass(ctx); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

func (c contender) cpu() (float64, error) {
	if c.server == nil {
		return 0, nil
	}
	return c.server.cpu()
}

// best returns the index of the fastest of the contenders with these indexes.
func best(results []result, among []int) int {
	return slices.MinFunc(among, func(a, b int) int {
		if results[a].median() < results[b].median() {
			return -1
		}
		return 1
	})
}
