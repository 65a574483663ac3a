//go:build !race

package udp

import (
	"testing"
	"time"
)

// The packet path allocates nothing, in either direction, with and without offloads.
func TestSendAndReceiveDoNotAllocate(t *testing.T) {
	for name, c := range map[string]struct {
		listen, ip string
		o          Options
	}{
		"IPv4": {"127.0.0.1:0", "127.0.0.1", Options{}}, "IPv6": {"[::1]:0", "::1", Options{}},
		"both": {"[::]:0", "127.0.0.1", Options{}}, "hints": {"0.0.0.0:0", "127.0.0.1", Options{Refusals: true}},
		"plain": {"127.0.0.1:0", "127.0.0.1", Options{NoGSO: true, NoGRO: true}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := listen(t, c.listen, c.o), listen(t, c.listen, c.o)
			train, in, there := pattern(40_000), batch(), to(b, c.ip)
			once := func() {
				if err := a.Send(train, 1472, there); err != nil {
					t.Fatal(err)
				}
				for n := 0; n < len(train); n += len(in.Data) {
					if err := b.ReceiveSpin(in, 50*time.Microsecond); err != nil {
						t.Fatal(err)
					}
					for d := range in.All() {
						_ = d
					}
				}
				// Answer from the address that was asked, as servers do.
				if err := b.Send(train[:100], 100, Path{Remote: in.From, Local: in.To}); err != nil {
					t.Fatal(err)
				}
				for {
					if ok, err := a.TryReceive(in); err != nil {
						t.Fatal(err)
					} else if ok {
						return
					}
				}
			}
			if n := testing.AllocsPerRun(200, once); n != 0 {
				t.Errorf("%v allocations for a train and an answer", n)
			}
		})
	}
}
