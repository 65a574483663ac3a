package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
	"github.com/spate-project/spate/bootsvc/probe"
)

// Service answers machines on one network.
type Service struct {
	cfg      Config
	dir      bootsvc.Directory
	log      *zap.Logger
	checkFor time.Duration

	main, boot *link.Conn // ports 67 and 4011; boot may be nil in server mode
	raw        *link.Socket
	journal    *journal
	core       *core
	storeNext  time.Time // before it a disk that took no leases is not tried again
	dropped    atomic.Uint64
	dropsNext  time.Time // before it nothing is said of what was dropped
	looking    bool      // for other servers: what is heard meanwhile waits in early
	early      []event
	mute       bool // questions by ARP could not be sent, and it was told

	closing sync.Once
}

// ErrConflict is in the error of Run when another DHCP server answers on the network.
var ErrConflict = errors.New("another DHCP server answers on this network")

// New binds the sockets of a service, which needs root, or CAP_NET_RAW and CAP_NET_BIND_SERVICE, and reads the leases. Run serves;
// Close gives all back when Run is not called. log may be nil.
func New(cfg Config, dir bootsvc.Directory, log *zap.Logger) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	doubt, err := cfg.checkInterface()
	if err != nil {
		return nil, err
	}
	if doubt != "" {
		log.Warn("machines are told another network than this server has; correct the one in boot.subnets, or the mask of the interface", zap.String("what", doubt))
	}
	s := &Service{cfg: cfg, dir: dir, log: log, checkFor: checkFor}
	if err := s.open(); err != nil {
		s.Close()
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	return s, nil
}

func (s *Service) open() (err error) {
	if s.raw, err = link.Listen(s.cfg.Interface); err != nil {
		return err
	}
	if s.main, err = link.ListenUDP(s.cfg.Interface, portServer, false); err != nil {
		return err
	}
	s.boot, err = link.ListenUDP(s.cfg.Interface, portBoot, false)
	if err != nil && s.cfg.Mode == ModeProxy {
		return err
	} else if err != nil {
		s.log.Warn("firmware that asks a boot server gets no answer; the file is in the offer too, which is enough for most", zap.Error(err))
	}
	s.core = newCore(s.cfg, s.dir, func(l lease) { s.journal.add(l) })
	path := s.cfg.LeaseFile
	if s.cfg.Mode == ModeProxy {
		path = "" // a proxy gives no leases
	}
	var bad int
	s.journal, bad, err = openJournal(path, func(all []lease) []lease {
		s.core.leases.restore(all)
		return s.core.leases.all()
	})
	if bad > 0 {
		s.log.Warn("damaged records in the lease file are left out, as the last one after a crash", zap.String("file", path), zap.Int("records", bad))
	}
	return err
}

// checkInterface makes sure that the service stands on the network that it is to serve. It gives what is doubtful about it, if anything is.
func (c *Config) checkInterface() (doubt string, err error) {
	i, err := net.InterfaceByName(c.Interface)
	if err != nil {
		return "", fmt.Errorf("dhcp: interface %s: %w", c.Interface, err)
	}
	all, err := i.Addrs()
	if err != nil {
		return "", fmt.Errorf("dhcp: interface %s: %w", c.Interface, err)
	}
	var own netip.Prefix // of c.Addr
	var names []string
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			names = append(names, p.String())
			if p.Addr() == c.Addr {
				own = p
			}
		}
	}
	has := "it has no IPv4 address"
	if len(names) > 0 {
		has = "it has " + strings.Join(names, ", ")
	}
	if !own.IsValid() {
		return "", fmt.Errorf("dhcp: %s is not an address of interface %s: %s", c.Addr, c.Interface, has)
	}
	if c.Mode == ModeProxy {
		return "", nil
	}
	s := c.subnet(c.Addr)
	if s == nil {
		return "", fmt.Errorf("dhcp: no configured subnet is a network of interface %s: %s; configure that one, or name the interface of another", c.Interface, has)
	}
	if s.Network != own.Masked() {
		doubt = fmt.Sprintf("subnet %s, and interface %s with %s", s.Network, c.Interface, own)
	}
	return doubt, nil
}

// event is something that the loop is told.
type event struct {
	packet packet     // when it has bytes
	claim  link.Claim // when it has an address
	reply  []byte     // an overheard reply
}

// Run serves until ctx ends, whose error it gives. Before that, in server mode, it listens for other DHCP servers for four
// seconds and gives ErrConflict when one answers that is no server of this farm, unless Force is set.
func (s *Service) Run(ctx context.Context) error {
	defer s.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	events := make(chan event, inbox)
	var readers sync.WaitGroup
	// Run waits for the readers; closing their sockets ends them, and a failure of one ends Run.
	start := func(read func(chan<- event) error) {
		readers.Go(func() {
			if err := read(events); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrClosed) {
				cancel(fmt.Errorf("dhcp on %s: %w", s.cfg.Interface, err))
			}
		})
	}
	defer readers.Wait()
	defer s.closeSockets()
	start(s.readRaw)
	if err := s.check(ctx, events); err != nil {
		return err
	}
	start(func(to chan<- event) error { return s.readUDP(s.main, false, to) })
	if s.boot != nil {
		start(func(to chan<- event) error { return s.readUDP(s.boot, true, to) })
	}
	s.log.Info("answering machines", zap.Stringer("mode", s.cfg.Mode), zap.String("interface", s.cfg.Interface), zap.Stringer("address", s.cfg.Addr))
	return s.loop(ctx, events)
}

// check looks for servers that must not be there, and drops what machines sent meanwhile: it is old, and they ask again. The first
// addresses are asked for by ARP in this time; who has answered is told only when this server serves.
func (s *Service) check(ctx context.Context, events <-chan event) error {
	if s.cfg.Mode != ModeServer {
		return nil
	}
	offers, err := s.look(ctx, events)
	if err != nil {
		return err
	}
	var strangers []string
	for _, o := range offers {
		if o.Address.IsValid() && !s.core.ours(o.Server) && !slices.Contains(strangers, o.String()) {
			strangers = append(strangers, o.String())
		}
	}
	if len(strangers) > 0 {
		err := fmt.Errorf("dhcp on %s: %w: %s; switch it off, or use mode proxy beside it, or force this one to serve all the same", s.cfg.Interface, ErrConflict, strings.Join(strangers, "; "))
		if !s.cfg.Force {
			return err
		}
		s.log.Warn("serving all the same", zap.Error(err))
	}
	for _, e := range s.early {
		s.step(e)
	}
	s.early = nil
	return s.drain()
}

// look asks for other servers, and for addresses by ARP. What is heard meanwhile waits in early.
func (s *Service) look(ctx context.Context, events <-chan event) (offers []probe.Offer, err error) {
	looking, looked := context.WithCancel(ctx)
	var asking sync.WaitGroup
	// look waits for it. It ends with ctx at the latest, and ends the loop below.
	asking.Go(func() {
		defer looked()
		offers, err = probe.Ask(ctx, probe.Options{Interface: s.cfg.Interface, Wait: s.checkFor, Kinds: []probe.Kind{probe.BIOS}})
	})
	s.looking = true
	_ = s.loop(looking, events) // its error is that looking has ended
	s.looking = false
	asking.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fmt.Errorf("dhcp: look for other servers on %s: %w", s.cfg.Interface, err)
	}
	return offers, nil
}

func (s *Service) drain() error {
	b := make([]byte, maxPacket)
	for _, c := range []*link.Conn{s.main, s.boot} {
		if c == nil {
			continue
		}
		for range inbox { // a flood does not end
			if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
				return err
			}
			if _, _, _, err := c.ReadFrom(b); err != nil {
				break // nothing is left; another error comes again
			}
		}
		if err := c.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) readUDP(c *link.Conn, boot bool, to chan<- event) error {
	b := make([]byte, maxPacket)
	for {
		n, from, broadcast, err := c.ReadFrom(b)
		if err != nil {
			return err
		}
		s.put(to, event{packet: packet{bytes: slices.Clone(b[:n]), from: from, broadcast: broadcast, boot: boot}})
	}
}

func (s *Service) readRaw(to chan<- event) error {
	b := make([]byte, maxPacket)
	for {
		n, err := s.raw.Read(b)
		if err != nil {
			return err
		}
		if c, ok := link.ParseClaim(b[:n]); ok {
			s.put(to, event{claim: c})
		} else if d, ok := link.ParseDatagram(b[:n]); ok && d.SrcMAC != s.raw.MAC() {
			s.put(to, event{reply: slices.Clone(d.Payload)})
		}
	}
}

// put hands an event over, or drops it when too many wait: whoever asks asks again.
func (s *Service) put(to chan<- event, e event) {
	select {
	case to <- e:
	default:
		s.dropped.Add(1)
	}
}

// tellDrops says now and then how much was dropped.
func (s *Service) tellDrops(now time.Time) {
	if now.Before(s.dropsNext) {
		return
	}
	if n := s.dropped.Swap(0); n > 0 {
		s.dropsNext = now.Add(dropsAgain)
		s.log.Warn("packets came faster than they could be answered, and some were dropped; machines ask again, but a disk that takes long for the leases slows all of them", zap.Uint64("packets", n))
	}
}

// loop owns the core. What came together is decided together, stored with one sync, and then sent.
func (s *Service) loop(ctx context.Context, events <-chan event) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		case e := <-events:
			s.step(e)
			for n := 1; n < batch && len(events) > 0; n++ {
				s.step(<-events)
			}
		}
		if next := s.core.tick(time.Now()); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		s.flush(time.Now())
		s.tellDrops(time.Now())
	}
}

func (s *Service) step(e event) {
	switch {
	case s.looking && len(s.early) < inbox:
		s.early = append(s.early, e)
	case s.looking:
		s.dropped.Add(1)
	case e.packet.bytes != nil:
		s.core.receive(time.Now(), e.packet)
	case e.claim.Addr.IsValid():
		s.core.heard(time.Now(), e.claim)
	default:
		s.core.overheard(time.Now(), e.reply)
	}
}

// flush stores what has changed and sends what is to be sent. A lease that cannot be stored is given all the same: a machine that boots
// matters more than a server that restarts, and which asks by ARP then.
func (s *Service) flush(now time.Time) {
	if !now.Before(s.storeNext) {
		if err := s.store(); err != nil {
			s.storeNext = now.Add(storeAgain)
			s.log.Error("leases are not stored; make room or repair the disk", zap.Error(err), zap.Duration("again in", storeAgain))
		}
	}
	s.ask(s.core.questions)
	for _, o := range s.core.out {
		s.sent(s.send(o))
	}
	s.core.questions, s.core.out = nil, nil
}

// ask asks for addresses by ARP. That it cannot is told once, until it can again: the questions come also while nobody boots.
func (s *Service) ask(all []netip.Addr) {
	var frame []byte
	var failed error
	for _, a := range all {
		if err := s.raw.Write(link.AppendQuestion(frame[:0], s.raw.MAC(), a)); err != nil {
			s.core.ahead.unasked(a)
			failed = err
		}
	}
	if failed != nil && !s.mute {
		s.log.Warn("questions by ARP are not sent: an address that somebody else uses may be offered", zap.Error(failed))
	}
	if len(all) > 0 {
		s.mute = failed != nil
	}
}

func (s *Service) store() error {
	if s.journal.long(len(s.core.leases.byAddr)) {
		return s.journal.rewrite(s.core.leases.all())
	}
	return s.journal.flush()
}

func (s *Service) send(o outgoing) error {
	if o.to.direct {
		return s.raw.Write(link.Datagram{
			SrcMAC: s.raw.MAC(), DstMAC: link.MAC(o.to.mac), Src: netip.AddrPortFrom(s.cfg.Addr, portServer), Dst: o.to.addr, Payload: o.bytes,
		}.Append(nil))
	}
	c := s.main
	if o.boot && s.boot != nil {
		c = s.boot
	}
	_, err := c.WriteToUDPAddrPort(o.bytes, o.to.addr)
	return err
}

func (s *Service) sent(err error) {
	if err != nil {
		s.log.Warn("a reply was not sent; the machine asks again", zap.Error(err))
	}
}

func (s *Service) closeSockets() {
	for _, c := range []*link.Conn{s.main, s.boot} {
		if c != nil {
			c.Close() // nothing of it is awaited
		}
	}
	if s.raw != nil {
		s.raw.Close()
	}
}

// Close gives the sockets back and stores the leases; Run does so when it ends.
func (s *Service) Close() {
	s.closing.Do(func() {
		s.closeSockets()
		if s.journal != nil {
			if err := errors.Join(s.store(), s.journal.close()); err != nil {
				s.log.Error("leases are not stored", zap.Error(err))
			}
		}
	})
}
