package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"

	"go.uber.org/zap"

	"github.com/spate-project/spate/vdisk"
)

// announce prints what a person needs to attach the vDisks, and "ready".
func (s *server) announce() {
	if s.p.open {
		warnOfReaders(s.out, s.addr)
	}
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
	for _, st := range s.stores {
		s.inventory(st.Inventory())
	}
	if s.p.open {
		if a := s.farm.PeerAddr(); a.IsValid() {
			fmt.Fprintf(s.out, "another server joins with: spated --store DIR --join %s (and a copy of %s in its --state)\n", reachable(a), s.p.keyFile)
		}
	}
	s.boot.announce(s.out)
	fmt.Fprintln(s.out, "ready")
}

// warnOfReaders says who can read a folder that is served at an address: whoever has the key, and can send a datagram.
func warnOfReaders(out io.Writer, a netip.AddrPort) {
	if !a.Addr().IsLoopback() {
		fmt.Fprintf(out, "warning: every machine that reaches %s and knows the farm key can read these vDisks\n", reachable(a))
	}
}

// inventory takes what a scan of a store has found. A vDisk is told when the farm offers it: before that nobody could
// attach it.
func (s *server) inventory(i vdisk.Inventory) {
	if s.farm == nil {
		return // the first scan; announce tells what it found
	}
	s.farm.Refresh()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ready && s.p.open {
		s.tellLocked(i)
	}
}

// tellLocked prints what was not told yet.
func (s *server) tellLocked(i vdisk.Inventory) {
	tell := func(key, format string, args ...any) {
		if !s.shown[key] {
			s.shown[key] = true
			fmt.Fprintf(s.out, format+"\n", args...)
		}
	}
	if i.Problem != "" {
		tell("problem "+i.Problem, "store %s: %s; what lies in it is served as soon as it can be read", i.Dir, i.Problem)
		return
	}
	offers, err := s.farm.VDisks(context.Background()) // from memory
	if err != nil {
		s.log.Error("the vDisks cannot be listed", zap.Error(err))
		return
	}
	for _, v := range offers.VDisks {
		if v.Offered {
			tell("vdisk "+v.Name, "spate-target attach --server %s --farm-key %s --vdisk %s --nbd-socket /tmp/%s.nbd",
				reachable(s.addr), s.keys.farm.Public(), v.Name, v.Name)
		}
	}
	for _, im := range i.Images {
		tell("image "+im.File, "%s: not imported, run: %s", im.File, im.Hint(i.Dir))
	}
	for _, b := range i.Bad {
		tell("bad "+b.File+b.Reason, "%s: not served: %s; %s", b.File, b.Reason, b.Advice)
	}
}
