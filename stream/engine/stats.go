package engine

import (
	"encoding/binary"
	"io"
	"math"
	"net/netip"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// Stats counts what a client has seen since it was made.
type Stats struct {
	Bytes          uint64 // payload received
	Reads          uint64 // fetches finished
	Lost           uint32 // asked again because an answer did not come
	Late           uint32 // pieces that came although they were not missing any more
	Busy           uint32 // asked to come back later
	ServerFailures uint32 // a server said that its copy is no good
	Rejected       uint32 // bytes that did not verify
	Contradictions uint32 // servers told different lengths of one answer
	Failovers      uint32
	Replays        uint64
	Forged         uint64
	Malformed      uint64
	Strangers      uint64 // datagrams of sessions that do not exist
	Hints          uint64
	Unknown        uint64 // frames of a type not known
	Oversleeps     uint32 // this process itself did not run for a while
	Shrunk         uint32 // packet size lowered because big datagrams vanished
	LongestPause   time.Duration
	LongestPauseAt Instant
}

// Snapshot is the state of a client for people to look at.
type Snapshot struct {
	Stats
	Serving    bool // a server serves now
	Server     string
	Addr       netip.AddrPort
	Since      Instant
	Disk       wire.Disk
	RoundTrip  time.Duration
	Window     int // bytes
	Packet     int // bytes, the largest datagram that has come
	InWork     int
	Alternates []AlternateView
}

// AlternateView is one other server as the client sees it.
type AlternateView struct {
	Name     string
	Addr     netip.AddrPort
	State    wire.ServerState
	Load     float64
	SameZone bool
	Note     string
}

// Snapshot describes the client as it is now.
func (c *Client) Snapshot() Snapshot {
	s := Snapshot{Stats: c.stats, Disk: c.disk, InWork: c.inWork}
	if p := c.current; p != nil {
		s.Serving = !p.suspect
		s.Server, s.Addr, s.Since = p.server.label(), p.server.addr, p.born
		s.RoundTrip, s.Window, s.Packet = p.rtt.smoothed, p.win.bytes, p.largest
	}
	for _, v := range c.servers {
		if v == c.currentServer() || !v.named {
			continue
		}
		s.Alternates = append(s.Alternates, AlternateView{
			Name: v.label(), Addr: v.addr, State: v.state, Load: float64(v.load) / 1000, SameZone: v.sameZone, Note: v.note,
		})
	}
	return s
}

// SetBoot says when the machine reached which stage of its boot, and with UptimeMS how long its kernel has run now. The
// server is told soon, and by each status message.
func (c *Client) SetBoot(now Instant, t wire.BootTimes) {
	c.boot, c.bootAt = t, now
	if p := c.current; p != nil {
		p.statusAt = earlier(p.statusAt, now.Add(statusSoon))
	}
}

// bootTimes are those of SetBoot with the uptime of now.
func (c *Client) bootTimes(now Instant) wire.BootTimes {
	t := c.boot
	if t.UptimeMS > 0 {
		t.UptimeMS = uint32(min(int64(t.UptimeMS)+now.Sub(c.bootAt).Milliseconds(), math.MaxUint32))
	}
	return t
}

func (c *Client) wireStatus(now Instant, p *path) wire.Status {
	return wire.Status{
		Bytes: c.stats.Bytes, Reads: c.stats.Reads, Lost: c.stats.Lost, Late: c.stats.Late, Busy: c.stats.Busy,
		RTT: uint32(p.rtt.smoothed.Microseconds()), Window: uint32(p.win.bytes), Packet: uint16(min(p.largest, wire.MaxDatagram)),
		LongestPauseMS: uint32(c.stats.LongestPause.Milliseconds()), Failovers: c.stats.Failovers, Flags: c.cfg.Offloads,
		Boot: c.bootTimes(now),
	}
}

// spread is a random time below d, so that many targets do not act at once.
func (c *Client) spread(d time.Duration) time.Duration {
	return time.Duration(c.jitter.Int64N(int64(d)))
}

// newIndex draws an index that no other path of this client has.
func (c *Client) newIndex() uint32 {
	for {
		var b [4]byte
		readFull(c.cfg.Random, b[:])
		if i := binary.LittleEndian.Uint32(b[:]); i != 0 && c.byIndex(i) == nil {
			return i
		}
	}
}

// readFull panics when the system has no randomness to give: nothing can be
// done safely then.
func readFull(r io.Reader, b []byte) {
	if _, err := io.ReadFull(r, b); err != nil {
		panic("engine: no randomness: " + err.Error())
	}
}

func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
