package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// tolerance is by how much CI, on a machine that does other things too, may miss the figures.
const tolerance = 10

// report is what a run found.
type report struct {
	Servers int      `json:"servers"`
	Links   bool     `json:"links"` // links could be cut
	Cycles  int      `json:"cycles"`
	Rows    []row    `json:"rows"`
	Bytes   int64    `json:"bytes_checked"`
	Wrong   int64    `json:"wrong_blocks"`
	Failed  int64    `json:"io_errors"`
	Errors  []string `json:"errors,omitempty"` // the first of them
}

// row is one kind of cycle. Durations are in milliseconds.
type row struct {
	Kind   string  `json:"kind"`
	Cycles int     `json:"cycles"`
	Bound  float64 `json:"bound_ms"`
	Gross  spread  `json:"gross"`
	Net    spread  `json:"net"`
	Above  int     `json:"above_bound"` // cycles whose net pause was longer than the bound
}

type spread struct {
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
	Max    float64 `json:"max_ms"`
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

func spreadOf(list []time.Duration) spread {
	slices.Sort(list)
	at := func(part float64) float64 { return milliseconds(list[int(part*float64(len(list)-1)+0.5)]) }
	return spread{Median: at(0.5), P99: at(0.99), Max: at(1)}
}

// add makes a row of the pauses of one kind.
func (r *report) add(k kind, pauses []pause) {
	if len(pauses) == 0 {
		return
	}
	one := row{Kind: k.name, Cycles: len(pauses), Bound: milliseconds(k.bound)}
	var gross, net []time.Duration
	for _, p := range pauses {
		gross, net = append(gross, p.gross), append(net, p.net)
		if p.net > k.bound {
			one.Above++
		}
	}
	one.Gross, one.Net = spreadOf(gross), spreadOf(net)
	r.Rows = append(r.Rows, one)
	r.Cycles += len(pauses)
}

// count adds what the readers saw.
func (r *report) count(readers []*reader) {
	for _, one := range readers {
		r.Bytes += one.bytes.Load()
		r.Wrong += one.wrong.Load()
		r.Failed += one.failed.Load()
		one.mu.Lock()
		r.Errors = append(r.Errors, one.errors...)
		one.mu.Unlock()
	}
}

// verdict is nil, or says what must not be.
func (r *report) verdict(ci bool) error {
	if r.Wrong > 0 || r.Failed > 0 {
		return fmt.Errorf("%d wrong blocks, %d I/O errors", r.Wrong, r.Failed)
	}
	for _, one := range r.Rows {
		if ci && one.Net.Max > tolerance*one.Bound {
			return fmt.Errorf("%s: a read stood still for %.1f ms, more than %d times %.0f ms", one.Kind, one.Net.Max, tolerance, one.Bound)
		}
	}
	return nil
}

// write writes the report as a table, or as JSON.
func (r *report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "longest read pause, ms\tcycles\tbound\tgross median\tp99\tmax\tnet median\tp99\tmax\tnet above bound\t")
	for _, o := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t\n", o.Kind, o.Cycles, o.Bound, o.Gross.Median, o.Gross.P99, o.Gross.Max,
			o.Net.Median, o.Net.P99, o.Net.Max, o.Above)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%.1f GB read and compared, %d wrong blocks, %d I/O errors\n", float64(r.Bytes)/1e9, r.Wrong, r.Failed)
	for _, e := range r.Errors {
		fmt.Fprintln(out, "  "+e)
	}
	if !r.Links {
		fmt.Fprintln(out, "links were not cut: that takes root, iproute2 and nftables")
	}
	return nil
}
