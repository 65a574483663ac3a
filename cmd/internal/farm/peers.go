package farm

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
)

// How memberlist is tuned: a dead peer is seen after probe interval, time-out and suspicion, about 1.2 s in
// all. Servers are few and near; what that costs is some small packets a second.
const (
	probeInterval    = 250 * time.Millisecond
	probeTimeout     = 100 * time.Millisecond
	gossipInterval   = 50 * time.Millisecond
	pushPullInterval = 2 * time.Second
	suspicionMult    = 2
	tcpTimeout       = 2 * time.Second
	reclaimAfter     = time.Millisecond // a server that is dead may come back under another address at once

	joinEvery = 2 * time.Second // how often seeds that are no members are tried
)

// Tell is what a server tells the others about itself. The farm asks for it once a second.
type Tell struct {
	Load
	Config   Digest
	Replicas []Replica // not changed afterwards
}

// PeerOptions say how a server meets its peers.
type PeerOptions struct {
	// Name is the server's own.
	Name string
	// Bind is where it listens, TCP and UDP; with port 0 a free one is chosen. When it is not valid the server
	// is alone and listens nowhere. Advertise is what others are told, Bind when not valid.
	Bind, Advertise netip.AddrPort
	// Keys seal everything, 32 bytes each: the first is used, the others are understood too.
	Keys [][]byte
	// Meta is told with the membership; its Start is drawn by ListenPeers.
	Meta Meta
	// Seeds are addresses at which other servers may be; it is called again and again.
	Seeds func() []netip.AddrPort
	// Known tells whether a server of this name may be a member; nil means that any may.
	Known func(name string) bool
	// Tell is called once a second, and when the server has something to tell at once; never twice at a time.
	Tell func() Tell
	// Epoch returns the number of the server's epoch of ticket keys, and LearnEpoch takes that of another one.
	Epoch      func() uint32
	LearnEpoch func(uint32)
	// Serve answers the call of another server. It calls reply for each message before the last and returns
	// the last one. The context ends when the caller no longer waits.
	Serve func(ctx context.Context, method string, body json.RawMessage, reply func(any) error) (any, error)
	// Changed is called when a server came, went, or changed the state of its stream service; it may be nil.
	Changed func()
	// Log may be nil.
	Log *zap.Logger
}

// Peers is the talk of one server with the others. All methods are safe for concurrent use.
type Peers struct {
	o     PeerOptions
	log   *zap.Logger
	list  *memberlist.Memberlist // nil when the server is alone
	ready chan struct{}          // closed when list is set: memberlist calls us before it returns itself
	calls callbook

	telling sync.Mutex // held while a report is made and sent, so that the newest is the last; taken before mu

	stop    context.CancelFunc
	running context.Context
	group   sync.WaitGroup // every goroutine that sends or serves

	mu      sync.Mutex // guards the fields below; never held while sending
	book    *book
	members map[string]memberlist.Node // the others: copies, because memberlist changes its own while they are read
	seq     uint64
	told    inventory // what peers are sent when they ask
	sending map[string]bool
	closed  bool
}

// ListenPeers binds the peer port; memberlist answers probes from then on. Members are sought and reports sent by
// Run. Close must be called in any case.
func ListenPeers(o PeerOptions) (*Peers, error) {
	var start [8]byte
	if _, err := rand.Read(start[:]); err != nil {
		return nil, err
	}
	// A start number travels as JSON too, where 53 bits are exact in every language.
	o.Meta.Start = binary.LittleEndian.Uint64(start[:])>>11 | 1
	p := &Peers{o: o, log: logging.Or(o.Log).Named("peers"), ready: make(chan struct{}), book: newBook(),
		members: map[string]memberlist.Node{}, sending: map[string]bool{}}
	p.running, p.stop = context.WithCancel(context.Background())
	p.calls.init()
	p.book.join(time.Now(), o.Name, o.Meta)

	if !o.Bind.IsValid() {
		close(p.ready)
		return p, nil
	}
	c, err := p.config()
	if err != nil {
		p.stop()
		return nil, err
	}
	if p.list, err = memberlist.Create(c); err != nil {
		p.stop()
		return nil, fmt.Errorf("listen for peers at %s: %w", o.Bind, err)
	}
	close(p.ready)
	return p, nil
}

func (p *Peers) config() (*memberlist.Config, error) {
	ring, err := memberlist.NewKeyring(p.o.Keys[1:], p.o.Keys[0])
	if err != nil {
		return nil, fmt.Errorf("peer keys: %w", err)
	}
	advertise := p.o.Advertise
	if !advertise.IsValid() {
		advertise = p.o.Bind
	}
	c := memberlist.DefaultLANConfig()
	c.Name = p.o.Name
	c.BindAddr, c.BindPort = p.o.Bind.Addr().String(), int(p.o.Bind.Port())
	c.AdvertiseAddr, c.AdvertisePort = advertise.Addr().String(), int(advertise.Port())
	c.Keyring = ring
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = probeInterval, probeTimeout, suspicionMult
	c.GossipInterval, c.PushPullInterval = gossipInterval, pushPullInterval
	c.TCPTimeout, c.DeadNodeReclaimTime = tcpTimeout, reclaimAfter
	c.Delegate, c.Events, c.Alive = hooks{p}, hooks{p}, hooks{p}
	c.LogOutput = lineLog{p.log}
	return c, nil
}

// Addr is the address at which the peers are listened for, as they are told.
func (p *Peers) Addr() netip.AddrPort {
	if p.list == nil {
		return netip.AddrPort{}
	}
	return addrOf(*p.list.LocalNode())
}

func addrOf(n memberlist.Node) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(n.Addr) // memberlist holds no other
	return netip.AddrPortFrom(addr.Unmap(), n.Port)
}

// others returns the members besides this server, by name.
func (p *Peers) others() []memberlist.Node {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := slices.Collect(maps.Values(p.members))
	slices.SortFunc(all, func(a, b memberlist.Node) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Run sends reports and joins seeds until the context ends.
func (p *Peers) Run(ctx context.Context) error {
	// The two loops end with the context; Run waits for them.
	var loops sync.WaitGroup
	loops.Go(func() { every(ctx, reportEvery, p.report) })
	loops.Go(func() { every(ctx, joinEvery, p.join) })
	loops.Wait()
	return nil
}

func every(ctx context.Context, d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Close tells the others that this server leaves, ends all calls and frees the port. It waits at most a
// moment for the others.
func (p *Peers) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.calls.end(Errorf(ErrorUnavailable, "this server is shutting down"))
	if p.list == nil {
		p.group.Wait()
		return nil
	}
	if err := p.list.Leave(gossipInterval * 10); err != nil {
		p.log.Debug("leaving was not confirmed", zap.Error(err))
	}
	err := p.list.Shutdown()
	p.group.Wait()
	return err
}

// report tells every member what this server carries, and what it holds when that changed.
func (p *Peers) report() {
	p.telling.Lock()
	defer p.telling.Unlock()
	t := p.o.Tell()
	replicas, left := arrange(t.Replicas)
	if left > 0 {
		p.log.Warn("more replicas than servers tell each other; the others cannot be used by the farm", zap.Int("left_out", left))
	}
	now := time.Now()
	have := digest(replicas)
	// Asked for before the lock is taken: the stream service answers under a lock that it holds while it asks us who
	// may log in.
	epoch := p.o.Epoch()

	p.mu.Lock()
	p.seq++
	changed := p.told.Seq == 0 || have != digest(p.told.Replicas)
	if changed {
		p.told = inventory{p.o.Name, p.o.Meta.Start, p.seq, replicas}
		p.book.hold(p.told)
	}
	r := report{
		From: p.o.Name, Start: p.o.Meta.Start, Seq: p.seq, Load: t.Load, Config: t.Config, Inventory: have,
		Epoch: epoch,
	}
	p.book.take(now, r)
	p.mu.Unlock()
	if changed {
		p.changed() // our own targets may have lost or won a replica too
	}

	message := encode(kindReport, r)
	for _, n := range p.others() {
		if err := p.list.SendBestEffort(&n, message); err != nil {
			p.log.Debug("report not sent", zap.String(logging.KeyServer, n.Name), zap.Error(err))
		}
		if changed {
			p.sendInventory(n.Name)
		}
	}
}

// join tries the seeds that are no members. Two halves of a farm that lost each other meet again by it.
func (p *Peers) join() {
	if p.list == nil {
		return
	}
	met := map[netip.AddrPort]bool{p.Addr(): true}
	for _, n := range p.others() {
		met[addrOf(n)] = true
	}
	seeds := slices.DeleteFunc(slices.Clone(p.o.Seeds()), func(a netip.AddrPort) bool { return met[a] })
	for _, s := range seeds {
		if _, err := p.list.Join([]string{s.String()}); err != nil {
			p.log.Debug("no peer there", zap.Stringer(logging.KeyAddr, s), zap.Error(err))
		}
	}
}

// sendInventory sends the last told inventory to a server, in the background; one at a time to each.
func (p *Peers) sendInventory(to string) {
	p.mu.Lock()
	busy := p.sending[to] || p.told.Seq == 0
	if !busy {
		p.sending[to] = true
	}
	told := p.told
	p.mu.Unlock()
	if busy {
		return // it asks again if what it gets is not the newest
	}
	p.background(func() {
		if err := p.send(to, encode(kindInventory, told)); err != nil {
			p.log.Debug("inventory not sent", zap.String(logging.KeyServer, to), zap.Error(err))
		}
		p.mu.Lock()
		delete(p.sending, to)
		p.mu.Unlock()
	})
}

// send delivers one message reliably, or says why it could not.
func (p *Peers) send(to string, message []byte) error {
	if len(message) > maxMessageBytes {
		return Errorf(ErrorInternal, "a message of %d bytes to %s; at most %d are sent", len(message), to, maxMessageBytes)
	}
	p.mu.Lock()
	n, ok := p.members[to]
	p.mu.Unlock()
	if !ok {
		return Errorf(ErrorUnavailable, "server %s cannot be reached: it is not alive", to)
	}
	<-p.ready
	if err := p.list.SendReliable(&n, message); err != nil {
		return Errorf(ErrorUnavailable, "server %s cannot be reached: %v", to, err)
	}
	return nil
}

// changed says, from a goroutine of its own, that another server is no longer what it was.
func (p *Peers) changed() {
	if p.o.Changed != nil {
		p.background(p.o.Changed)
	}
}

// background runs do in a goroutine for which Close waits. Nothing is started once Close has begun.
func (p *Peers) background(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.group.Go(do)
	}
}

// assign notes that a device was sent to a server.
func (p *Peers) assign(name, device string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.book.assign(time.Now(), name, device)
}

// peers returns all servers ever heard of, this one among them.
func (p *Peers) peers() []peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.book.list(time.Now())
}
