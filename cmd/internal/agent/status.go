package agent

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"
)

// Move is one change of server.
type Move struct {
	At      time.Time     `json:"at"`
	From    string        `json:"from"`
	To      string        `json:"to"`
	Reason  string        `json:"reason"`
	Pause   time.Duration `json:"pause_ns"`
	Planned bool          `json:"-"`
}

// Alternate is one other server.
type Alternate struct {
	Name     string         `json:"name"`
	Addr     netip.AddrPort `json:"addr"`
	State    string         `json:"state"`
	Load     float64        `json:"load"`
	SameZone bool           `json:"same_zone"`
}

// Status is what a person or a script may want to know of an attachment.
// Durations are nanoseconds, rates bytes a second.
type Status struct {
	PID         int            `json:"pid"`
	Attached    string         `json:"attached"` // where: path of the socket, or "read"
	Serving     bool           `json:"serving"`  // a server serves now
	Server      string         `json:"server"`
	Addr        netip.AddrPort `json:"addr"`
	Since       time.Time      `json:"since"`
	Asked       string         `json:"asked"` // the vDisk as the log-in named it; empty: the one assigned to this device
	VDisk       string         `json:"vdisk"` // as the servers say; empty before the first has served
	Version     uint32         `json:"version"`
	Mode        string         `json:"mode"`
	Size        int64          `json:"size"`
	Root        string         `json:"root"`
	Rate        float64        `json:"rate"`         // bytes a second of the wire's payload, lately
	Bytes       uint64         `json:"bytes"`        // of the wire's payload
	DiskBytes   uint64         `json:"disk_bytes"`   // of the disk that these were
	Packet      int            `json:"packet"`       // bytes
	Offloads    string         `json:"offloads"`     // GSO+GRO, GSO, GRO or plain
	Cipher      string         `json:"cipher"`       // AES-256-GCM, or ChaCha20-Poly1305 where the processor has no instructions for AES
	NetworkLost uint32         `json:"network_lost"` // retries because an answer did not come
	NetworkLate uint32         `json:"network_late"` // answers that came twice
	ServerBusy  uint32         `json:"server_retries"`
	RoundTrip   time.Duration  `json:"round_trip_ns"`
	Pause       time.Duration  `json:"longest_pause_ns"`
	PauseAt     time.Time      `json:"longest_pause_at"`
	CacheUsed   int64          `json:"write_cache_used"`
	CacheMax    int64          `json:"write_cache_max"` // 0: read-only
	CacheWaits  int            `json:"writes_waiting"`
	ReadHits    float64        `json:"read_hits"` // part of the reads that needed no server
	Alternates  []Alternate    `json:"alternates"`
	Moves       []Move         `json:"moves"` // the last of them
	Failovers   uint32         `json:"failovers"`
	Errors      uint64         `json:"io_errors"`         // reads that failed
	Waiting     string         `json:"waiting,omitempty"` // why no server serves
}

// fill takes what the client knows. wall turns the client's instants into times of the day.
func (s *Status) fill(snap stream.Snapshot, o udp.Offloads, wall func(stream.Instant) time.Time) {
	s.Serving, s.Server, s.Addr = snap.Serving, snap.Server, snap.Addr
	if snap.Serving {
		s.Since = wall(snap.Since)
	}
	d := snap.Disk
	s.VDisk, s.Version, s.Mode, s.Size = d.Name, d.Number, d.Mode.String(), d.Size
	s.Root = hex.EncodeToString(d.Content.Root[:])
	s.Bytes, s.Packet = snap.Bytes, snap.Packet
	s.NetworkLost, s.NetworkLate = snap.Lost, snap.Late
	s.ServerBusy = snap.Busy + snap.ServerFailures
	s.RoundTrip, s.Pause = snap.RoundTrip, snap.LongestPause
	if snap.LongestPauseAt != 0 {
		s.PauseAt = wall(snap.LongestPauseAt)
	}
	s.Failovers = snap.Failovers
	var flags wire.StatusFlags
	if o.GSO {
		flags |= wire.StatusGSO
	}
	if o.GRO {
		flags |= wire.StatusGRO
	}
	s.Offloads = flags.String()
	s.Alternates = nil
	for _, a := range snap.Alternates {
		state := a.State.String()
		if a.State == wire.StateServing && a.Note != "" {
			state = a.Note
		}
		s.Alternates = append(s.Alternates, Alternate{Name: a.Name, Addr: a.Addr, State: state, Load: a.Load, SameZone: a.SameZone})
	}
}

const clockFormat = "15:04:05"

// Text is the status in lines for people.
func (s *Status) Text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-11s%s\n", name, fmt.Sprintf(format, args...))
	}
	if s.Serving {
		line("server", "%s  %s   since %s%s", s.Server, s.Addr, s.Since.Format(clockFormat), s.cameFrom())
	} else {
		line("server", "none   %s", cmp.Or(s.Waiting, "looking for one"))
	}
	if s.VDisk == "" {
		line("vdisk", "%s   not seen yet", cmp.Or(s.Asked, "the one assigned to this device"))
		return b.String() // no server, no traffic
	}
	line("vdisk", "%s @ %d   %s   %s   root %s", s.VDisk, s.Version, s.Mode, size(s.Size), short(s.Root))
	ratio := 0.0
	if s.Bytes > 0 {
		ratio = float64(s.DiskBytes) / float64(s.Bytes)
	}
	line("traffic", "%s/s now   %s in all   ratio %.1f   packets %d B   %s   %s", decimal(s.Rate), decimal(float64(s.Bytes)), ratio, s.Packet, s.Offloads, s.Cipher)
	line("retries", "%d network (%d lost, %d late)   %d server", s.NetworkLost+s.NetworkLate, s.NetworkLost, s.NetworkLate, s.ServerBusy)
	pause := ""
	if !s.PauseAt.IsZero() {
		pause = " (" + s.PauseAt.Format(clockFormat) + ")"
	}
	line("latency", "round trip %.2f ms   longest pause %s%s", milliseconds(s.RoundTrip), pauseText(s.Pause), pause)
	cache := "read-only"
	if s.CacheMax > 0 {
		cache = fmt.Sprintf("write %d of %d MiB", s.CacheUsed>>20, s.CacheMax>>20)
		if s.CacheWaits > 0 {
			cache += fmt.Sprintf(", FULL: %d writes wait", s.CacheWaits)
		}
	}
	line("cache", "%s   read hits %.0f %%", cache, 100*s.ReadHits)
	line("alternates", "%s", s.alternates())
	line("failovers", "%d%s", s.Failovers, s.lastMove())
	if s.Errors > 0 {
		line("errors", "%d reads failed", s.Errors)
	}
	return b.String()
}

func (s *Status) cameFrom() string {
	if len(s.Moves) == 0 {
		return ""
	}
	m := s.Moves[len(s.Moves)-1]
	return fmt.Sprintf(" (moved from %s: %s, pause %s)", m.From, m.Reason, pauseText(m.Pause))
}

func (s *Status) lastMove() string {
	if len(s.Moves) == 0 {
		return ""
	}
	return "   " + s.Moves[len(s.Moves)-1].String()
}

// String is a move as attach and status print it.
func (m Move) String() string {
	return fmt.Sprintf("%s %s → %s  %s  %s", m.At.Format(clockFormat), m.From, m.To, m.Reason, pauseText(m.Pause))
}

func (s *Status) alternates() string {
	if len(s.Alternates) == 0 {
		return "none"
	}
	var all []string
	for _, a := range s.Alternates {
		switch {
		case a.State != wire.StateServing.String():
			all = append(all, fmt.Sprintf("%s (%s)", a.Name, a.State))
		case a.SameZone:
			all = append(all, fmt.Sprintf("%s (same zone, load %.1f)", a.Name, a.Load))
		default:
			all = append(all, fmt.Sprintf("%s (load %.1f)", a.Name, a.Load))
		}
	}
	return strings.Join(all, ", ")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// pauseText is a pause in whole milliseconds, as far as it has any.
func pauseText(d time.Duration) string {
	switch ms := milliseconds(d); {
	case d == 0:
		return "0 ms"
	case ms < 1:
		return "under 1 ms"
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

func short(root string) string {
	if len(root) < 6 {
		return root
	}
	return root[:4] + "…" + root[len(root)-2:]
}

// size is a size of a disk, in binary units.
func size(n int64) string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(int64(1)<<u.shift), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// decimal is an amount of traffic, in decimal units as links have them.
func decimal(n float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.0f B", n)
}
