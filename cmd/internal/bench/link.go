package main

import (
	"context"
	"strconv"
	"strings"
)

// The link: two network namespaces and a veth pair between them that carries 1 Gbit/s each way.
const (
	linkServer, linkClient         = "spate-bench-s", "spate-bench-c"
	linkServerCard, linkClientCard = "sbench-s", "sbench-c"
	linkServerAddr, linkClientAddr = "198.18.7.1", "198.18.7.2" // of the block for benchmarks
)

var overLink = where{server: linkServer, client: linkClient, addr: linkServerAddr}

// namespaces makes the two namespaces and returns what removes them.
func namespaces(ctx context.Context) (func(), error) {
	remove := func() {
		for _, ns := range []string{linkServer, linkClient} {
			// They may not be there, or not any more; the context may have ended.
			_, _ = command(context.WithoutCancel(ctx), "", "ip", "netns", "del", ns)
		}
	}
	remove()
	for _, ns := range []string{linkServer, linkClient} {
		if _, err := command(ctx, "", "ip", "netns", "add", ns); err != nil {
			remove()
			return nil, err
		}
	}
	return remove, nil
}

// makeLink makes the link of 1 Gbit/s. Packets leave as a real card sends them: segmented before the limit, so
// that what the interface counts are packets on the wire.
func makeLink(ctx context.Context) (func(), error) {
	remove, err := namespaces(ctx)
	if err != nil {
		return nil, err
	}
	steps := []struct{ ns, line string }{
		{"", "ip link add " + linkServerCard + " netns " + linkServer + " type veth peer name " + linkClientCard + " netns " + linkClient},
	}
	for _, x := range [][3]string{{linkServer, linkServerCard, linkServerAddr}, {linkClient, linkClientCard, linkClientAddr}} {
		steps = append(steps,
			struct{ ns, line string }{x[0], "ip link set lo up"},
			struct{ ns, line string }{x[0], "ip addr add " + x[2] + "/30 dev " + x[1]},
			struct{ ns, line string }{x[0], "ethtool -K " + x[1] + " gso off tso off tx-udp-segmentation off"},
			struct{ ns, line string }{x[0], "ip link set " + x[1] + " up"},
			struct{ ns, line string }{x[0], "tc qdisc add dev " + x[1] + " root tbf rate 1gbit burst 128k latency 5ms"})
	}
	for _, s := range steps {
		words := strings.Fields(s.line)
		if _, err := command(ctx, s.ns, words[0], words[1:]...); err != nil {
			remove()
			return nil, err
		}
	}
	return remove, nil
}

// ethernetHeader is what an interface counts for each packet besides the IP packet.
const ethernetHeader = 14

// sentOnLink is the number of bytes of IP packets that the server's side of the link has sent.
func sentOnLink(ctx context.Context) (int64, error) {
	var counts [2]int64
	for i, name := range []string{"tx_bytes", "tx_packets"} {
		out, err := command(ctx, linkServer, "cat", "/sys/class/net/"+linkServerCard+"/statistics/"+name)
		if err != nil {
			return 0, err
		}
		if counts[i], err = strconv.ParseInt(strings.TrimSpace(out), 10, 64); err != nil {
			return 0, err
		}
	}
	return counts[0] - counts[1]*ethernetHeader, nil
}

var linkBounds = map[string]float64{"real": 2, "random": 0.93}

// Bounds of the bytes that the server sends for a whole vDisk.
const (
	wireToStored  = 1.10
	wireToNonZero = 0.50
	wireToRandom  = 1.06
)

// link reads whole images over the link.
func (b *bench) link(ctx context.Context) error {
	remove, err := makeLink(ctx)
	if err != nil {
		return err
	}
	defer remove()
	for _, name := range []string{"real", "random"} {
		i, err := b.image(ctx, name)
		if err != nil {
			return err
		}
		if err := b.importImage(ctx, i); err != nil {
			return err
		}
		if err := b.wholeOverLink(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) wholeOverLink(ctx context.Context, i *image) error {
	g := &grid{}
	defer g.close()
	var all []contender
	for _, name := range plainPeers {
		p, err := b.startPeer(ctx, name, overLink, i)
		if err != nil {
			return err
		}
		g.keep(p.server)
		// The link is the limit, whatever the settings.
		all = append(all, contender{name: name, server: p.server, pass: copier(overLink, p.uri), warm: readFile(i.path)})
	}
	s, err := b.serve(ctx, overLink)
	if err != nil {
		return err
	}
	g.keep(s.child)
	var sent []int64
	read := s.reader(i.name)
	counted := func(ctx context.Context) error {
		before, err := sentOnLink(ctx)
		if err != nil {
			return err
		}
		if err := read(ctx); err != nil {
			return err
		}
		after, err := sentOnLink(ctx)
		sent = append(sent, after-before)
		return err
	}
	all = append(all, contender{name: "spate", server: s.child, pass: counted, warm: readFile(b.sealed(i))})
	results, err := b.race(ctx, all)
	if err != nil {
		return err
	}
	const spate = 3
	plain := best(results, []int{0, 1, 2})
	rate := func(n int) float64 { return float64(i.size) / 1e6 / results[n].median() }
	b.report.add(row{Name: "sequential at 1 Gbit/s, to the best peer", Image: i.name, Unit: "MB/s", Spate: rate(spate), Peer: rate(plain),
		PeerName: all[plain].name, Bound: linkBounds[i.name], Spread: results[spate].spread()})
	var bytes []float64
	for _, n := range sent {
		bytes = append(bytes, float64(n)/1e6)
	}
	wire := func(name, of string, base int64, bound float64) {
		b.report.add(row{Name: name, Image: i.name, Unit: "MB", Spate: median(bytes), Peer: float64(base) / 1e6, PeerName: of, Bound: bound, AtMost: true,
			Spread: spread(bytes)})
	}
	if i.name == "random" {
		wire("bytes on the wire, to the disk", "disk", i.size, wireToRandom)
		return nil
	}
	wire("bytes on the wire, to the stored ones", "stored", i.stored, wireToStored)
	wire("bytes on the wire, to the non-zero disk", "non-zero disk", i.nonZero, wireToNonZero)
	return nil
}
