package wire

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// What is wrong with bytes from outside. The packet path returns these themselves; errors of Parse functions for frames wrap them.
var (
	ErrForeign   = errors.New("not a Spate datagram")
	ErrVersion   = errors.New("wire version not spoken here")
	ErrKind      = errors.New("datagram of another kind")
	ErrTruncated = errors.New("truncated")
	ErrMalformed = errors.New("malformed")
)

// ParseError says which message could not be read and why. It wraps ErrTruncated or ErrMalformed.
type ParseError struct {
	What string // "login", or the name of the frame
	Why  string
	Err  error
}

// Error is for the log.
func (e *ParseError) Error() string { return "wire: " + e.What + ": " + e.Why }

// Unwrap gives ErrTruncated or ErrMalformed.
func (e *ParseError) Unwrap() error { return e.Err }

func truncated(what string) error { return &ParseError{what, "truncated", ErrTruncated} }

func malformed(what, why string) error { return &ParseError{what, why, ErrMalformed} }

// FrameHeaderSize is type and length, with which every frame but Pad begins.
const FrameHeaderSize = 3

// FrameType is the first byte of a frame. Numbers are appended, never given a new meaning.
type FrameType uint8

// The frames.
const (
	FramePad FrameType = 0 // both: the rest of the datagram is padding

	FrameRead         FrameType = 1 // target to server, as all below 16
	FrameStatus       FrameType = 2
	FrameLeave        FrameType = 3
	FrameBad          FrameType = 4
	FrameSize         FrameType = 5
	FrameGoingAwayAck FrameType = 6
	FramePathAnswer   FrameType = 7
	FramePing         FrameType = 8

	FrameData        FrameType = 16 // server to target, as all from here on
	FramePending     FrameType = 17
	FrameBusy        FrameType = 18
	FrameFailed      FrameType = 19
	FrameGoingAway   FrameType = 20
	FrameAlternates  FrameType = 21
	FrameTicket      FrameType = 22
	FrameStatusReply FrameType = 23
	FrameProbe       FrameType = 24
	FramePathCheck   FrameType = 25
	FramePong        FrameType = 26
	FrameClosed      FrameType = 27
)

var frameNames = map[FrameType]string{
	FramePad: "pad", FrameRead: "read", FrameStatus: "status", FrameLeave: "leave", FrameBad: "bad", FrameSize: "size",
	FrameGoingAwayAck: "going-away ack", FramePathAnswer: "path answer", FramePing: "ping",
	FrameData: "data", FramePending: "pending", FrameBusy: "busy", FrameFailed: "failed", FrameGoingAway: "going-away",
	FrameAlternates: "alternates", FrameTicket: "ticket", FrameStatusReply: "status reply", FrameProbe: "probe",
	FramePathCheck: "path check", FramePong: "pong", FrameClosed: "closed",
}

// Known tells whether t is a frame of this version; others are skipped and counted.
func (t FrameType) Known() bool { return t <= FramePing || t >= FrameData && t <= FrameClosed }

// FromServer tells whether t is a frame that only servers send.
func (t FrameType) FromServer() bool { return t >= FrameData }

// String names the frame for logs.
func (t FrameType) String() string {
	if s, ok := frameNames[t]; ok {
		return s
	}
	return "frame " + strconv.Itoa(int(t))
}

// Next cuts the first frame off b: its type, its body, and what follows it. Both alias b. A Pad frame swallows what follows.
// A caller iterates while b is not empty; it skips types that it does not know. After an error nothing more can be read from b.
func Next(b []byte) (t FrameType, body, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, nil, ErrTruncated
	}
	t = FrameType(b[0])
	if t == FramePad {
		return t, nil, nil, nil
	}
	if len(b) < FrameHeaderSize {
		return t, nil, nil, ErrTruncated
	}
	end := FrameHeaderSize + int(binary.LittleEndian.Uint16(b[1:]))
	if end > len(b) {
		return t, nil, nil, ErrTruncated
	}
	return t, b[FrameHeaderSize:end:end], b[end:], nil
}

// Frame is any frame. The packet path uses the concrete types; this is for logs, traces and tests.
type Frame interface {
	// Type is the frame's number.
	Type() FrameType
	// Append appends the whole frame, header included.
	Append(dst []byte) []byte
}

// Parse reads the body of a frame of any known type. A type that is not known, and Pad, give nil without an error.
func Parse(t FrameType, body []byte) (Frame, error) {
	switch t {
	case FrameRead:
		return frame(ParseRead(body))
	case FrameStatus:
		return frame(ParseStatus(body))
	case FrameLeave:
		return frame(ParseLeave(body))
	case FrameBad:
		return frame(ParseBad(body))
	case FrameSize:
		return frame(ParseSize(body))
	case FrameGoingAwayAck:
		return frame(ParseGoingAwayAck(body))
	case FramePathAnswer:
		return frame(ParsePathAnswer(body))
	case FramePing:
		return frame(ParsePing(body))
	case FrameData:
		return frame(ParseData(body))
	case FramePending:
		return frame(ParsePending(body))
	case FrameBusy:
		return frame(ParseBusy(body))
	case FrameFailed:
		return frame(ParseFailed(body))
	case FrameGoingAway:
		return frame(ParseGoingAway(body))
	case FrameAlternates:
		return frame(ParseAlternates(body))
	case FrameTicket:
		return frame(ParseTicket(body))
	case FrameStatusReply:
		return frame(ParseStatusReply(body))
	case FrameProbe:
		return frame(ParseProbe(body))
	case FramePathCheck:
		return frame(ParsePathCheck(body))
	case FramePong:
		return frame(ParsePong(body))
	case FrameClosed:
		return frame(ParseClosed(body))
	}
	return nil, nil
}

// frame keeps a failed parse from becoming a non-nil Frame.
func frame[F Frame](f F, err error) (Frame, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// begin appends a frame header whose length end fills in.
func begin(dst []byte, t FrameType) (b []byte, at int) {
	return append(dst, byte(t), 0, 0), len(dst)
}

func end(dst []byte, at int) []byte {
	binary.LittleEndian.PutUint16(dst[at+1:], uint16(len(dst)-at-FrameHeaderSize))
	return dst
}

// reader walks over a body. After the first read beyond the end it returns zeros and ok is false; callers look once, at the end.
type reader struct {
	b       []byte
	short   bool
	garbled bool // a string that is too long or not printable, or a flag that is neither 0 nor 1
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.short, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if p := r.take(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) bool() bool {
	v := r.u8()
	r.garbled = r.garbled || v > 1
	return v == 1
}

func (r *reader) bytes(dst []byte) { copy(dst, r.take(len(dst))) }

// text reads a string of at most limit bytes. The result is a copy.
func (r *reader) text(limit int) string {
	p := r.take(int(r.u8()))
	if len(p) > limit || !printable(p) {
		r.garbled = true
		return ""
	}
	return string(p)
}

func (r *reader) addr() netip.AddrPort {
	var a [16]byte
	r.bytes(a[:])
	port := r.u16()
	if a == [16]byte{} {
		return netip.AddrPortFrom(netip.Addr{}, port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
}

func (r *reader) err(what string) error {
	switch {
	case r.short:
		return truncated(what)
	case r.garbled:
		return malformed(what, "a string is too long or not printable, or a flag is neither 0 nor 1")
	}
	return nil
}

func printable(p []byte) bool {
	for len(p) > 0 {
		c, n := utf8.DecodeRune(p)
		if c == utf8.RuneError && n <= 1 || !unicode.IsPrint(c) {
			return false
		}
		p = p[n:]
	}
	return true
}

// appendText appends a string, cut between runes to at most limit bytes and with a substitute for what is not printable: whatever a
// caller passes, the other end can read the message.
func appendText(dst []byte, s string, limit int) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for _, c := range s {
		if !unicode.IsPrint(c) {
			c = '?'
		}
		if len(dst)-at-1+utf8.RuneLen(c) > limit {
			break
		}
		dst = utf8.AppendRune(dst, c)
	}
	dst[at] = byte(len(dst) - at - 1)
	return dst
}

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// appendAddr appends 16 bytes, IPv4 mapped, and the port; an address that is not valid is zero. Zones are not carried: they mean something on one machine only.
func appendAddr(dst []byte, a netip.AddrPort) []byte {
	var b [16]byte
	if a.Addr().IsValid() {
		b = a.Addr().As16()
	}
	dst = append(dst, b[:]...)
	return binary.LittleEndian.AppendUint16(dst, a.Port())
}
