package farm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long tests wait for what takes a second on a machine that does nothing else.
const patience = 20 * time.Second

// node is one server's talk with the others, on loopback.
type node struct {
	*Peers
	tell  atomic.Pointer[Tell]
	stop  context.CancelFunc
	ended chan struct{}
}

var peerKey = make([]byte, 32)

func startNode(t *testing.T, name string, change func(*PeerOptions), seeds ...*node) *node {
	t.Helper()
	n := &node{ended: make(chan struct{})}
	n.tell.Store(&Tell{Load: Load{State: StreamServing}})
	o := PeerOptions{
		Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{peerKey},
		Meta: Meta{Stream: netip.MustParseAddrPort("127.0.0.1:6910")},
		Seeds: func() (all []netip.AddrPort) {
			for _, s := range seeds {
				all = append(all, s.Addr())
			}
			return all
		},
		Tell: func() Tell { return *n.tell.Load() }, Epoch: func() uint32 { return 0 }, LearnEpoch: func(uint32) {},
		Serve: func(context.Context, string, json.RawMessage, func(any) error) (any, error) {
			return nil, errors.New("nothing to serve")
		},
		// No log of the test: memberlist's goroutines may speak for a moment after Shutdown.
	}
	if change != nil {
		change(&o)
	}
	p, err := ListenPeers(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Peers = p
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() { // ended by stop, for which the cleanup waits
		defer close(n.ended)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		n.stop()
		<-n.ended
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// die ends the node without a farewell.
func (n *node) die(t *testing.T) {
	t.Helper()
	n.stop()
	<-n.ended
	n.mu.Lock()
	n.closed = true // for the cleanup
	n.mu.Unlock()
	if err := n.list.Shutdown(); err != nil {
		t.Fatal(err)
	}
	n.Peers.stop()
	n.group.Wait()
}

// sees waits until the node's book has name in a state that pleases, and returns the seconds it took.
func (n *node) sees(t *testing.T, what, name string, pleases func(peer) bool) time.Duration {
	t.Helper()
	begin := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		for _, p := range n.peers() {
			if p.name == name && pleases(p) {
				return time.Since(begin)
			}
		}
		if time.Since(begin) > patience {
			t.Fatalf("%s does not see within %s that %s %s: %+v", n.o.Name, patience, name, what, n.peers())
		}
	}
	return 0
}

func isAlive(p peer) bool { return p.alive }
func isDead(p peer) bool  { return !p.alive }

func TestServersTellEachOtherLoadAndInventory(t *testing.T) {
	a := startNode(t, "lab-a", nil)
	b := startNode(t, "lab-b", nil, a)
	c := startNode(t, "lab-c", nil, b)
	nodes := []*node{a, b, c}
	for _, n := range nodes {
		for _, other := range nodes {
			n.sees(t, "is alive", other.o.Name, isAlive)
		}
	}
	replicas := []Replica{{Store: "main", VDisk: "debian12", Number: 1}}
	told := time.Now()
	b.tell.Store(&Tell{Load: Load{State: StreamLeaving, Sessions: 14, Egress: 1e6}, Config: Digest{1}, Replicas: replicas})
	for _, n := range nodes {
		n.sees(t, "carries 14 targets and holds debian12", "lab-b", func(p peer) bool {
			return p.report.Sessions == 14 && p.report.State == StreamLeaving && p.report.Config == Digest{1} && slices.Equal(p.replicas, replicas)
		})
	}
	if took := time.Since(told); took > seenWithin {
		t.Errorf("load and inventory took %s to all, more than %s", took, seenWithin)
	}
}

// Membership is a hint, and the bound here is a wide one; the usual time is about a second, for the death as for the
// return.
func TestDeadServerIsSeenSoonAndItsReturnToo(t *testing.T) {
	a := startNode(t, "lab-a", nil)
	b := startNode(t, "lab-b", nil, a)
	a.sees(t, "is alive", "lab-b", isAlive)
	b.die(t)
	took := a.sees(t, "is dead", "lab-b", isDead)
	t.Logf("seen dead after %s", took.Round(time.Millisecond))
	if took > seenWithin {
		t.Errorf("seen dead after %s, more than %s", took, seenWithin)
	}

	startNode(t, "lab-b", nil, a)
	if took := a.sees(t, "came back", "lab-b", func(p peer) bool { return p.alive && p.returned > 0 }); took > seenWithin {
		t.Errorf("seen alive again after %s, more than %s", took, seenWithin)
	}
}

func TestServersWithoutTheKeyOrAPlaceInTheFarmFileStayOutside(t *testing.T) {
	a := startNode(t, "lab-a", func(o *PeerOptions) { o.Known = func(name string) bool { return name == "lab-b" } })
	wrongKey := startNode(t, "lab-b", func(o *PeerOptions) { o.Keys = [][]byte{slices.Repeat([]byte{9}, 32)} }, a)
	stranger := startNode(t, "lab-x", nil, a)
	for _, n := range []*node{wrongKey, stranger} {
		if _, err := n.list.Join([]string{a.Addr().String()}); err == nil && a.list.NumMembers() > 1 {
			t.Errorf("%s became a member", n.o.Name)
		}
	}
	rolled := startNode(t, "lab-b", func(o *PeerOptions) { o.Keys = [][]byte{slices.Repeat([]byte{9}, 32), peerKey} })
	if _, err := rolled.list.Join([]string{a.Addr().String()}); err == nil && a.list.NumMembers() > 1 {
		t.Error("a server that seals with a key that lab-a does not have became a member")
	}
	if got := a.peers(); len(got) != 1 {
		t.Errorf("lab-a knows %+v", got)
	}
}

func TestCallsAreAnsweredInOrderAndEndWithTheCallee(t *testing.T) {
	reached := make(chan struct{}, 1)
	a := startNode(t, "lab-a", func(o *PeerOptions) {
		o.Serve = func(ctx context.Context, method string, body json.RawMessage, reply func(any) error) (any, error) {
			switch method {
			case "count":
				var n int
				if err := json.Unmarshal(body, &n); err != nil {
					return nil, Errorf(ErrorInvalid, "a number is wanted")
				}
				for i := range n {
					if err := reply(i); err != nil {
						return nil, err
					}
				}
				return n, nil
			case "hang":
				reached <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("secret detail about %s", method)
		}
	})
	b := startNode(t, "lab-b", nil, a)
	b.sees(t, "is alive", "lab-a", isAlive)
	a.sees(t, "is alive", "lab-b", isAlive)
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()

	var got []int
	collect := func(raw json.RawMessage) error {
		var n int
		err := json.Unmarshal(raw, &n)
		got = append(got, n)
		return err
	}
	if err := b.Call(ctx, "lab-a", "count", 50, collect); err != nil || len(got) != 51 || !slices.IsSorted(got) {
		t.Errorf("got %v and error %v, want 0 to 50 in order", got, err)
	}
	expect := func(method string, body any, code ErrorCode, text string) {
		t.Helper()
		if err := b.Call(ctx, "lab-a", method, body, collect); CodeOf(err) != code || err == nil || err.Error() != text {
			t.Errorf("%s: got %v, want %s: %s", method, err, code, text)
		}
	}
	expect("count", "x", ErrorInvalid, "a number is wanted")
	expect("no such", nil, ErrorInternal, "internal error of server lab-a; its log says more")
	if err := b.Call(ctx, "lab-z", "count", 1, collect); CodeOf(err) != ErrorUnavailable {
		t.Errorf("a call of nobody: %v", err)
	}

	short, cancelCall := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Call(short, "lab-a", "hang", nil, collect) }() // ended by cancelCall, received below
	<-reached
	cancelCall()
	if err := <-ended; CodeOf(err) != ErrorUnfinished {
		t.Errorf("a cancelled call: %v", err)
	}
	go func() { ended <- b.Call(ctx, "lab-a", "hang", nil, collect) }() // ended by the callee's death, received below
	<-reached
	a.die(t)
	if err := <-ended; CodeOf(err) != ErrorUnavailable {
		t.Errorf("a call of a server that died: %v", err)
	}
}
