package main

import (
	"context"
	"fmt"
)

const gib = 1 << 30

// bounds of the rows that read whole images over loopback.
var loopbackBounds = map[string]struct{ plain, tls, socket, cpu float64 }{
	"real":   {plain: 0.35, tls: 3, socket: 0.25, cpu: 0.8},
	"random": {plain: 0.25},
	"sparse": {},
}

// loopback reads whole images over loopback.
func (b *bench) loopback(ctx context.Context) error {
	for _, name := range []string{"real", "random", "sparse"} {
		i, err := b.image(ctx, name)
		if err != nil {
			return err
		}
		if err := b.importImage(ctx, i); err != nil {
			return err
		}
		if err := b.wholeOverLoopback(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) wholeOverLoopback(ctx context.Context, i *image) error {
	g := &grid{}
	defer g.close()
	all, err := b.peersOf(ctx, loopback, i, plainPeers, g)
	if err != nil {
		return err
	}
	plainOnes := []int{0, 1, 2}
	s, err := b.serve(ctx, loopback)
	if err != nil {
		return err
	}
	g.keep(s.child)
	attached, socket, err := s.attach(ctx, i.name, "loopback")
	if err != nil {
		return err
	}
	g.keep(attached)
	all = append(all,
		contender{name: "spate", server: s.child, pass: s.reader(i.name)},
		contender{name: "spate socket", server: s.child, pass: copier(loopback, socketURI(socket))})
	if i.name == "real" {
		sealed, err := b.sealedPeers(ctx, i, g)
		if err != nil {
			return err
		}
		all = append(all, sealed...)
	}
	results, err := b.race(ctx, all)
	if err != nil {
		return err
	}
	const nbdkit, spate, through, tls, goTLS = 0, 3, 4, 5, 6
	plain := best(results, plainOnes)
	bound := loopbackBounds[i.name]
	rate := func(n int) float64 { return float64(i.size) / 1e6 / results[n].median() }
	cost := func(n int) float64 { return results[n].cpu / float64(b.rounds) / (float64(i.size) / gib) }
	ratio := func(name string, ours, theirs int, least float64) {
		b.report.add(row{Name: name, Image: i.name, Unit: "MB/s", Spate: rate(ours), Peer: rate(theirs), PeerName: all[theirs].name,
			Bound: least, Spread: results[ours].spread()})
	}
	ratio("sequential, to the best plain peer", spate, plain, bound.plain)
	ratio("sequential through the NBD socket", through, plain, bound.socket)
	if i.name == "real" {
		ratio("sequential, to the TLS peer", spate, tls, bound.tls)
		ratio("sequential, to Go's crypto/tls", spate, goTLS, 0)
	}
	b.report.add(row{Name: "server CPU, to nbdkit plain", Image: i.name, Unit: "s/GiB", Spate: cost(spate), Peer: cost(nbdkit), PeerName: "nbdkit",
		Bound: bound.cpu, AtMost: true, Spread: results[spate].spread()})
	for n, c := range all {
		fmt.Printf("    %-14s %7.0f MB/s  spread %3.0f %%  server CPU %.2f s/GiB\n", c.name, rate(n), 100*results[n].spread(), cost(n))
	}
	return nil
}

// sealedPeers are nbdkit with TLS and a pre-shared key, and the reference.
func (b *bench) sealedPeers(ctx context.Context, i *image, g *grid) ([]contender, error) {
	sealed, err := b.peersOf(ctx, loopback, i, []string{"nbdkit TLS"}, g)
	if err != nil {
		return nil, err
	}
	reference, err := b.startReference(ctx, i)
	if err != nil {
		return nil, err
	}
	g.keep(reference.server)
	return append(sealed, reference), nil
}

// grid is what was started for one group of rows.
type grid struct{ all []*child }

func (g *grid) keep(c *child) { g.all = append(g.all, c) }

func (g *grid) close() {
	for _, c := range g.all {
		c.close()
	}
}

// peersOf starts peers and makes each the contender that it is at its best settings.
func (b *bench) peersOf(ctx context.Context, w where, i *image, names []string, g *grid) ([]contender, error) {
	var all []contender
	for _, name := range names {
		p, err := b.startPeer(ctx, name, w, i)
		if err != nil {
			return nil, err
		}
		g.keep(p.server)
		c, err := b.tuned(ctx, w, p)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
