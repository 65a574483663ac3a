package stream

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

type counters struct {
	received, sent, dropped, foreign, forged, overflow atomic.Uint64
}

// ServerStats is what a server has done since it started.
type ServerStats struct {
	Sessions int
	Received uint64 // bytes of datagrams
	Sent     uint64
	Dropped  uint64 // trains that the socket did not take
	Foreign  uint64 // datagrams that are none of this protocol
	Forged   uint64
	Overflow uint64 // first messages beyond a bound
	Offloads udp.Offloads
}

// Stats tells what the server has done.
func (s *Server) Stats() ServerStats {
	st := ServerStats{
		Sessions: int(s.table.count.Load()), Received: s.counters.received.Load(), Sent: s.counters.sent.Load(),
		Dropped: s.counters.dropped.Load(), Foreign: s.counters.foreign.Load(), Forged: s.counters.forged.Load(),
		Overflow: s.counters.overflow.Load(),
	}
	if len(s.cfg.Conns) > 0 {
		st.Offloads = s.cfg.Conns[0].Offloads()
	}
	return st
}

// SessionView is one session for people to look at.
type SessionView struct {
	MAC       [6]byte
	Label     string
	Addr      netip.AddrPort
	Disk      wire.Disk
	Since     time.Duration // how long it has been going
	Sent      uint64        // bytes of payload
	Reads     uint64
	Packet    int
	Status    wire.Status   // the target's own last word, with the times of its boot
	Uptime    time.Duration // since the kernel of a target that booted from its vDisk started, by its own word; 0 is unknown
	Confirmed bool
	Resumed   bool // the target came by a ticket, or goes on with its vDisk: it moved here, renewed its session, or was referred here at its log-in
}

// Sessions lists the sessions.
func (s *Server) Sessions() []SessionView {
	now := s.now()
	var list []SessionView
	for _, e := range s.table.all(nil) {
		e.mu.Lock()
		if x := e.session; !x.Ended() {
			v := SessionView{
				MAC: x.Who.MAC, Label: x.Who.Login.Label, Addr: x.Addr(), Disk: x.Disk, Since: now.Sub(x.Born()),
				Sent: x.Stats.Sent, Reads: x.Stats.Reads, Packet: x.Packet(), Status: x.Status, Confirmed: x.Confirmed(),
				Resumed: x.Who.Resume || x.Who.Login.Flags&wire.LoginReconnect != 0,
			}
			if ms := x.Status.Boot.UptimeMS; ms > 0 {
				v.Uptime = time.Duration(ms)*time.Millisecond + now.Sub(x.Told)
			}
			list = append(list, v)
		}
		e.mu.Unlock()
	}
	return list
}

// Epoch is the epoch of the ticket keys here.
func (s *Server) Epoch() uint32 {
	s.frontMu.Lock()
	defer s.frontMu.Unlock()
	return s.front.Epoch()
}

// LearnEpoch takes the epoch of another server.
func (s *Server) LearnEpoch(epoch uint32) {
	s.frontMu.Lock()
	defer s.frontMu.Unlock()
	s.front.LearnEpoch(s.now(), epoch)
}
