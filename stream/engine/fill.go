package engine

import (
	"net/netip"

	"github.com/spate-project/spate/stream/wire"
)

// Train is what [Session.Fill] makes: datagrams of Segment bytes each, the
// last one perhaps shorter, for one address.
type Train struct {
	Data    []byte
	Segment int
	To      netip.AddrPort
	Local   netip.Addr
}

// HasOutput tells whether Fill would make something.
func (s *Session) HasOutput() bool {
	if !s.proven && s.credit < s.packet || s.sealer.Spent() {
		return false
	}
	return len(s.control) > 0 || s.ready[0].head != 0 || s.ready[1].head != 0 || s.check.send || s.probeSize > 0
}

// urgent tells whether something small is to be sent that must not wait behind
// the answers of others: silence would be taken for death.
func (s *Session) urgent() bool { return len(s.control) > 0 || s.check.send }

// Fill seals as much as is ready into buf, at most limit bytes (which counts as
// no less than the smallest datagram), as datagrams of one length: control
// frames first, then demand, then read-ahead. Counters are given here, so
// whatever Fill has made must be sent in this order or not at all. buf has room
// for maxTrain bytes.
func (s *Session) Fill(now Instant, buf []byte, limit int) Train {
	t := Train{To: s.addr, Local: s.local}
	if s.sealer.Counter() >= keyDatagrams+keyDatagrams/4 {
		s.Close(wire.CodeKeysExpired, "") // the target should have renewed the session long ago
	}
	switch {
	case !s.HasOutput():
		return t
	case s.check.send:
		s.check.send = false
		t.To, t.Local = s.check.addr, s.check.local
		t.Data = s.sealOne(buf, wire.PathCheck{Token: s.check.token}, 0)
		t.Segment = len(t.Data)
		return t
	case s.probeSize > 0:
		size := min(s.probeSize, len(buf))
		s.probeSize = 0
		t.Data = s.sealOne(buf, wire.Probe{Size: uint16(size)}, size)
		t.Segment = len(t.Data)
		return t
	}
	limit = min(max(limit, basePacket), len(buf), maxTrain)
	if !s.proven {
		limit = min(limit, s.credit)
	}
	t.Data, t.Segment = s.train(now, buf, limit)
	if !s.proven {
		s.credit -= len(t.Data)
	}
	return t
}

// train seals datagrams of one length, the last one perhaps shorter.
func (s *Session) train(now Instant, buf []byte, limit int) (data []byte, segment int) {
	used := 0
	for range maxSegments {
		size := min(s.packet, limit)
		if segment > 0 {
			size = segment
		}
		if size > limit-used {
			break // the rest of the limit is kept for the next turn
		}
		made := s.datagram(now, buf[used:], size)
		if made == 0 {
			break
		}
		used += made
		if segment == 0 {
			segment = made
		}
		if made < segment {
			break
		}
	}
	return buf[:used], segment
}

// headerSize is the size of the clear header of this session's datagrams.
func (s *Session) headerSize() int {
	if s.first != nil {
		return wire.SealedFirstSize
	}
	return wire.SealedSize
}

// datagram seals one datagram of at most size bytes at the start of buf and
// returns its length, 0 when nothing is left or nothing fits.
func (s *Session) datagram(now Instant, buf []byte, size int) int {
	head := s.headerSize()
	room := size - wire.TagSize
	if room <= head+wire.FrameHeaderSize {
		return 0
	}
	b := buf[:head:room]
	b = s.fillControl(b)
	for pri := range s.ready {
		q := &s.ready[pri]
		for q.head != 0 && cap(b)-len(b) > wire.DataOverhead {
			b = s.fillData(now, b, q)
		}
	}
	if len(b) == head {
		return 0
	}
	if s.ready[0].head != 0 || s.ready[1].head != 0 || len(s.control) > 0 {
		// More follows: the datagrams of a train must be of one length.
		b = wire.AppendPad(b, cap(b)-len(b))
	}
	return len(s.seal(buf[:len(b):size]))
}

// fillControl moves whole control frames into b.
func (s *Session) fillControl(b []byte) []byte {
	n := 0
	for n < len(s.control) {
		_, _, rest, err := wire.Next(s.control[n:])
		if err != nil {
			n = len(s.control)
			break
		}
		end := len(s.control) - len(rest)
		if len(b)+end-n > cap(b) {
			break
		}
		b = append(b, s.control[n:end]...)
		n = end
	}
	s.control = s.control[:copy(s.control, s.control[n:])]
	return b
}

// fillData moves as much of the first ready answer into b as fits.
func (s *Session) fillData(now Instant, b []byte, q *slotQueue) []byte {
	sl := &s.slots[q.head-1]
	n := min(len(sl.data), cap(b)-len(b)-wire.DataOverhead)
	piece := sl.data[:n]
	b = wire.AppendDataHeader(b, wire.Data{
		ID: sl.id, Position: uint32(sl.pos), Total: uint32(sl.total), Held: wire.Held(sl.held), Payload: piece,
	})
	b = append(b, piece...)
	sl.data = sl.data[n:]
	sl.pos += n
	s.Stats.Sent += uint64(n)
	if len(sl.data) == 0 {
		s.sent(now, q)
	}
	return b
}

// sealOne seals a single frame, padded to size bytes when size is not 0.
func (s *Session) sealOne(buf []byte, f wire.Frame, size int) []byte {
	head := s.headerSize()
	b := f.Append(buf[:head])
	if pad := size - wire.TagSize - len(b); pad > 0 {
		b = wire.AppendPad(b, pad)
	}
	return s.seal(b)
}

// seal seals a datagram in place; b has room for the tag behind it.
func (s *Session) seal(b []byte) []byte {
	s.Stats.Datagrams++
	if s.first != nil {
		return s.sealer.SealFirst(b, *s.first)
	}
	return s.sealer.Seal(b, s.peer)
}
