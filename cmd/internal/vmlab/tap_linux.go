package vmlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spate-project/spate/cmd/internal/system/lab"
)

// Tap is the network cable of a machine.
type Tap struct {
	Name  string
	dir   string
	lossy bool // there are rules of Lose
}

// tap makes a cable that is plugged into the bridge.
func (n *Network) tap() (*Tap, error) {
	t := &Tap{Name: "labt" + strconv.Itoa(len(n.taps)+1), dir: n.dir}
	for _, c := range []string{
		"ip tuntap add " + t.Name + " mode tap",
		"ethtool -K " + t.Name + " gso off tso off tx-udp-segmentation off",
		"ip link set " + t.Name + " master " + bridge + " up",
	} {
		if _, err := command(c); err != nil {
			return nil, err
		}
	}
	n.taps = append(n.taps, t)
	return t, nil
}

// Count is what went over a cable, with Ethernet headers.
type Count struct{ BytesToMachine, BytesFromMachine, PacketsToMachine, PacketsFromMachine uint64 }

// Minus is what came since before.
func (c Count) Minus(before Count) Count {
	return Count{c.BytesToMachine - before.BytesToMachine, c.BytesFromMachine - before.BytesFromMachine,
		c.PacketsToMachine - before.PacketsToMachine, c.PacketsFromMachine - before.PacketsFromMachine}
}

// Bytes is both directions together.
func (c Count) Bytes() uint64 { return c.BytesToMachine + c.BytesFromMachine }

// Count counts what has gone over the cable. What is sent to the machine is sent by the tap.
func (t *Tap) Count() (Count, error) {
	type way struct{ Bytes, Packets uint64 }
	var all []struct {
		Stats struct{ RX, TX way } `json:"stats64"`
	}
	out, err := command("ip -j -s link show dev " + t.Name)
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("ip tells of %d cards", len(all))
	}
	if err != nil {
		return Count{}, fmt.Errorf("count on %s: %w", t.Name, err)
	}
	s := all[0].Stats
	return Count{s.TX.Bytes, s.RX.Bytes, s.TX.Packets, s.RX.Packets}, nil
}

// Rate bounds what goes to the machine, in Mbit/s.
func (t *Tap) Rate(mbit int) error {
	_, err := command(fmt.Sprintf("tc qdisc replace dev %s root tbf rate %dmbit burst 32k latency 50ms", t.Name, mbit))
	return err
}

// Unplug takes the carrier away, Plug gives it back.
func (t *Tap) Unplug() error {
	_, err := command("ip link set " + t.Name + " down")
	return err
}

// Plug gives the carrier back.
func (t *Tap) Plug() error {
	_, err := command("ip link set " + t.Name + " up")
	return err
}

// Lost counts the packets of a lossy cable in one direction.
type Lost struct{ All, Dropped uint64 }

// Loss drops packets of a cable at random, in both directions, and counts them.
type Loss struct {
	tap     *Tap
	percent float64
}

// The loss that is counted must be what was asked for, within these factors, or the test has tested something else.
const (
	leastLoss = 0.7
	mostLoss  = 1.3
	// fewDrops are too few to judge: chance alone strays further.
	fewDrops = 100
)

// Lose starts to lose a part of the packets in both directions, instead of what was lost before. No sender is told.
func (t *Tap) Lose(percent float64) (*Loss, error) {
	rules := ""
	line := func(format string, args ...any) { rules += fmt.Sprintf(format+"\n", args...) }
	if t.lossy {
		line("delete table netdev %s", t.Name)
	}
	t.lossy = true
	line("add table netdev %s", t.Name)
	for _, c := range []struct{ name, hook string }{{"to", "egress"}, {"from", "ingress"}} {
		line("add counter netdev %s %s_all", t.Name, c.name)
		line("add counter netdev %s %s_dropped", t.Name, c.name)
		line("add chain netdev %s %s { type filter hook %s device %s priority 0; }", t.Name, c.name, c.hook, t.Name)
		line("add rule netdev %s %s counter name %s_all", t.Name, c.name, c.name)
		line("add rule netdev %s %s numgen random mod 10000 < %d counter name %s_dropped drop", t.Name, c.name, int(percent*100), c.name)
	}
	file := filepath.Join(t.dir, t.Name+".nft")
	if err := os.WriteFile(file, []byte(rules), 0o644); err != nil {
		return nil, err
	}
	if _, err := command("nft -f " + file); err != nil {
		return nil, err
	}
	return &Loss{t, percent}, nil
}

// End stops the loss.
func (l *Loss) End() error {
	l.tap.lossy = false
	_, err := command("nft delete table netdev " + l.tap.Name)
	return err
}

// Count is what has gone and was dropped so far.
func (l *Loss) Count() (to, from Lost, err error) {
	out, err := lab.Run(context.Background(), "nft", "-j", "list", "counters", "table", "netdev", l.tap.Name)
	if err != nil {
		return to, from, err
	}
	var list struct {
		Objects []struct {
			Counter struct {
				Name    string
				Packets uint64
			}
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return to, from, fmt.Errorf("counters of %s: %w", l.tap.Name, err)
	}
	places := map[string]*uint64{"to_all": &to.All, "to_dropped": &to.Dropped, "from_all": &from.All, "from_dropped": &from.Dropped}
	for _, o := range list.Objects {
		if p := places[o.Counter.Name]; p != nil {
			*p = o.Counter.Packets
		}
	}
	return to, from, nil
}

// Check tells whether as much was lost as should have been; what it says is for the test's log.
func (l *Loss) Check() (said string, err error) {
	to, from, err := l.Count()
	if err != nil {
		return "", err
	}
	return judge(l.percent, to, from)
}

// judge is Check for what was counted in each direction.
func judge(percent float64, to, from Lost) (said string, err error) {
	both := Lost{to.All + from.All, to.Dropped + from.Dropped}
	if want := float64(both.All) * percent / 100; want < fewDrops {
		err = fmt.Errorf("only %d packets crossed the cable: too few to judge a loss of %g%%", both.All, percent)
	}
	for _, c := range []struct {
		way  string
		lost Lost
	}{{"to the machine", to}, {"from the machine", from}, {"in all", both}} {
		want, got := float64(c.lost.All)*percent/100, float64(c.lost.Dropped)
		said += fmt.Sprintf("%d of %d packets lost %s, %.1f%%; ", c.lost.Dropped, c.lost.All, c.way, 100*got/float64(max(1, c.lost.All)))
		if want >= fewDrops && (got < want*leastLoss || got > want*mostLoss) {
			err = errors.Join(err, fmt.Errorf("%d of %d packets were lost %s; it should have been about %.0f", c.lost.Dropped, c.lost.All, c.way, want))
		}
	}
	return said, err
}
