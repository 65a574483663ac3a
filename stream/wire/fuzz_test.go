package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// Whatever parses, is written and parsed again to the same value and the same bytes.
func FuzzFrames(f *testing.F) {
	for _, r := range frameRows() {
		f.Add(r.bytes)
	}
	f.Add(AppendPad(Ping{1}.Append([]byte{99, 1, 0, 7}), 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			typ, body, more, err := Next(rest)
			if err != nil {
				return
			}
			if len(more) >= len(rest) {
				t.Fatal("Next does not go on")
			}
			rest = more
			frame, err := Parse(typ, body)
			if err != nil || frame == nil {
				continue
			}
			checkFrame(t, frame)
		}
	})
}

func checkFrame(t *testing.T, frame Frame) {
	written := frame.Append(nil)
	typ, body, rest, err := Next(written)
	if err != nil || typ != frame.Type() || len(rest) != 0 {
		t.Fatalf("%+v is written as %x: %v", frame, written, err)
	}
	again, err := Parse(typ, body)
	if err != nil || !reflect.DeepEqual(frame, again) {
		t.Fatalf("%+v becomes %+v: %v", frame, again, err)
	}
	if !bytes.Equal(again.Append(nil), written) {
		t.Fatalf("%+v is written in two ways", frame)
	}
}

// Headers are exact: what parses is written to the same bytes again, as far as the header and what it describes go.
func FuzzDatagram(f *testing.F) {
	for _, r := range datagramRows() {
		f.Add(r.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, err := Peek(b)
		if err != nil {
			_, _ = ParseHint(b)
			return
		}
		var written []byte
		switch kind {
		case KindHello:
			if h, noise, err := ParseHello(b); err == nil {
				written = append(h.Append(nil), noise...)
				b[22], b[23] = 0, 0 // reserved
			}
		case KindWelcome:
			if h, noise, err := ParseWelcome(b); err == nil {
				written = append(h.Append(nil), noise...)
				b[14], b[15] = 0, 0
			}
		case KindCookie:
			if h, err := ParseCookie(b); err == nil {
				written = h.Append(nil)
			}
		case KindSealed:
			if h, sealed, err := ParseSealed(b); err == nil {
				written = append(h.Append(nil), sealed...)
			}
		case KindResume:
			if h, body, err := ParseResume(b); err == nil {
				written = append(AppendResumeHead(nil, h, body.Ticket, body.Random, len(body.Sealed)), body.Sealed...)
			}
		case KindSealedFirst:
			if h, sealed, err := ParseSealedFirst(b); err == nil {
				written = append(h.Append(nil), sealed...)
			}
		case KindHint:
			if h, err := ParseHint(b); err == nil {
				written = h.Append(nil)
				b[11] = 0
			}
		}
		if !bytes.HasPrefix(b, written) {
			t.Fatalf("%v:\n read %x\nwrote %x", kind, b, written)
		}
	})
}

func FuzzLogin(f *testing.F) {
	for _, r := range loginRows() {
		f.Add(r.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseLogin(b); err == nil {
			written := l.Append(nil)
			again, err := ParseLogin(written)
			if err != nil || !reflect.DeepEqual(l, again) || len(written) > MaxLogin {
				t.Fatalf("%+v becomes %+v: %v", l, again, err)
			}
		}
		if l, err := ParseLoginReply(b); err == nil {
			written := l.Append(nil)
			again, err := ParseLoginReply(written)
			if err != nil || !reflect.DeepEqual(l, again) || len(written) > MaxLoginReply {
				t.Fatalf("%+v becomes %+v: %v", l, again, err)
			}
		}
	})
}
