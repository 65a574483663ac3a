//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// What is compared is the sum of some boots: with 10 % loss chance adds seconds to each. Until its kernel runs a machine does the
// same in both chains, which is iPXE loading two files, half of the time and most of the chance: with it one can be behind.
const (
	lossyBoots  = 5
	lossyChance = 1.25
)

// lossyChain is a way to boot over a network that loses packets.
type lossyChain struct {
	name    string
	percent float64
	peer    bool
	limit   time.Duration // to the root's init

	boots int
	init  time.Duration // from power-on to the root's init, the sum of all boots
	own   float64       // from the kernel's start to the root's init, in seconds, the sum of all boots
	works time.Duration // from power-on to multi-user, of the first boot
}

// boot boots a machine to the root's init, on a network of its own.
func (c *lossyChain) boot(t *testing.T) (*vmlab.Guest, *vmlab.Loss) {
	t.Helper()
	l := vmlab.New(t)
	if c.peer {
		servePeer(t, l, vmlab.CommandLine)
	} else {
		addFarm(t, l, vmlab.FarmOptions{})
	}
	tap, err := l.Cable()
	if err != nil {
		t.Fatal(err)
	}
	loss, err := tap.Lose(c.percent)
	if err != nil {
		t.Fatal(err)
	}
	m := l.BootOn(tap, vmlab.Hardware{})
	line, up := m.WaitMark("init ", c.limit), 0.0
	if _, err := fmt.Sscanf(line.Text, "init up=%f", &up); err != nil {
		t.Fatalf("%q: %v", line.Text, err)
	}
	c.boots, c.init, c.own = c.boots+1, c.init+line.At, c.own+up
	return m, loss
}

// A network that loses packets slows a boot down and does not stop it. At 10 % it is faster than the boot by NBD.
func TestAMachineBootsOverALossyNetwork(t *testing.T) {
	few := &lossyChain{name: "2", percent: 2, limit: toInit}
	ours, peer := &lossyChain{name: "10", percent: 10, limit: 3 * toInit}, &lossyChain{name: "10-nbd", percent: 10, peer: true, limit: 5 * toInit}
	for _, c := range []*lossyChain{few, ours, peer} {
		t.Run(c.name, func(t *testing.T) {
			m, loss := c.boot(t)
			c.works = m.WaitMark("multi-user ", c.limit+toSystem).At
			said, err := loss.Check()
			t.Log(said)
			if err != nil {
				t.Error(err)
			}
			if m.Healthy(); !c.peer { // which has no shell
				healthy(t, m)
			}
		})
	}
	for i := range lossyBoots - 1 {
		for _, c := range []*lossyChain{ours, peer} {
			t.Run(fmt.Sprintf("%s-init-%d", c.name, i), func(t *testing.T) { c.boot(t) })
		}
	}
	if ours.boots < lossyBoots || peer.boots < lossyBoots { // it has failed, or only a part was asked for
		return
	}
	for _, c := range []*lossyChain{ours, peer} {
		t.Logf("%s: the kernel takes %.1f s to the root's init, which runs %.1f s after power-on; the system works after %.1f s",
			c.name, c.own/lossyBoots, c.init.Seconds()/lossyBoots, c.works.Seconds())
	}
	if ours.own >= peer.own || ours.init.Seconds() >= lossyChance*peer.init.Seconds() || ours.works >= peer.works {
		t.Error("with 10 % loss it is not faster than by NBD")
	}
}
