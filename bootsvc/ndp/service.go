package ndp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
)

// Service answers the solicitations of machines on one network.
type Service struct {
	iface    string
	raw      *link.Socket
	mac      bootsvc.MAC
	addr     netip.Addr // link-local
	machines *Machines
	router   router // belongs to Run
	log      *zap.Logger
}

// New opens the socket of a service on a network card or bridge, which needs CAP_NET_RAW. Run serves, and gives it back. log may be nil.
func New(iface string, machines *Machines, log *zap.Logger) (*Service, error) {
	raw, err := link.ListenRouters(iface)
	if err != nil {
		return nil, fmt.Errorf("ndp: %w", err)
	}
	if log == nil {
		log = zap.NewNop()
	}
	mac := bootsvc.MAC(raw.MAC())
	return &Service{iface: iface, raw: raw, mac: mac, addr: own(iface, mac), machines: machines, log: log}, nil
}

// own is the link-local address of an interface, or where it has none the one that it would have. Nobody ever sends to it: it is no
// router's.
func own(iface string, mac bootsvc.MAC) netip.Addr {
	if i, err := net.InterfaceByName(iface); err == nil {
		all, _ := i.Addrs() // of a card that is gone: none
		for _, a := range all {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() == nil && n.IP.IsLinkLocalUnicast() {
				return netip.AddrFrom16([16]byte(n.IP.To16()))
			}
		}
	}
	return made(mac)
}

// Run serves until ctx ends, whose error it gives, or the card fails.
func (s *Service) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.raw.Close() }) // which ends a Read
	defer s.raw.Close()
	defer stop()
	// Routers advertise themselves every few minutes. That there is one should be known before the first machine asks.
	s.send(appendQuestion(nil, s.mac))
	b := make([]byte, maxFrame)
	for {
		n, err := s.raw.Read(b)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("ndp on %s: %w", s.iface, err)
		}
		if reply := s.receive(b[:n], time.Now()); reply != nil {
			s.send(reply)
		}
	}
}

// receive takes a frame and gives the one that answers it, nil for none.
func (s *Service) receive(frame []byte, now time.Time) []byte {
	m, ok := parse(frame)
	switch {
	case !ok:
		return nil
	case m.kind == advertisement:
		was := s.router
		if s.router = s.router.hear(m, now); s.router.addr != was.addr {
			s.log.Debug("routers", zap.Stringer("before", was.addr), zap.Stringer("now", s.router.addr))
		}
		return nil
	}
	answer, reason := s.machines.decide(m, s.router, now)
	s.log.Debug("a machine asks for routers", zap.Stringer("mac", m.from), zap.Bool("answered", answer), zap.String("because", reason))
	if !answer {
		return nil
	}
	return appendEmpty(nil, s.mac, m.from, s.addr, m.src)
}

func (s *Service) send(frame []byte) {
	if err := s.raw.Write(frame); err != nil {
		s.log.Debug("a packet was not sent", zap.String("interface", s.iface), zap.Error(err)) // who asks asks again
	}
}
