package parts

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var sample = Head{First: 4096, Vendors: []uint16{0x1af4}, Cards: []Card{{0x10ec, 0x8168}, {0x8086, 0x100e}, {0x8086, 0x1533}}}

const sampleText = `spate boot image 1
first 000000004096
cards 10ec 8168
cards 1af4 *
cards 8086 100e 1533
sum f08cdb52
`

func image(t testing.TB, h Head) []byte {
	t.Helper()
	b, err := h.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return append(b, make([]byte, 5000)...)
}

// What is written is what stands in the package's description, and it is read again.
func TestAHeadIsReadAsItWasWritten(t *testing.T) {
	if got := sample.text(); got != sampleText {
		t.Errorf("written as\n%s", got)
	}
	b := image(t, sample)
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil || !got.equal(sample) {
		t.Errorf("%+v, %v", got, err)
	}
	for c, want := range map[Card]bool{
		{0x1af4, 0x1000}: true, {0x1af4, 0xffff}: true, {0x8086, 0x1533}: true, {0x8086, 0x1534}: false, {0x15ad, 0x07b0}: false, {}: false, {0x10ec, 0}: false,
	} {
		if got.Drives(c) != want {
			t.Errorf("card %v: %v", c, !want)
		}
	}
}

// Its length is known before that of the first part is.
func TestTheLengthOfAHeadDoesNotDependOnTheFirstPart(t *testing.T) {
	long := sample
	long.First = 4 << 30
	a, _ := sample.Bytes()
	b, err := long.Bytes()
	if err != nil || len(a) != len(b) || len(a)%4 != 0 {
		t.Errorf("%d and %d bytes, %v", len(a), len(b), err)
	}
}

// Any other byte, and any length at which the file ends in it, makes that there is no head.
func TestADamagedHeadIsNone(t *testing.T) {
	whole, own := image(t, sample), len(image(t, sample))-5000
	end := own - len(record("TRAILER!!!", 0, 0)) - len(padded([]byte(sampleText))) + len(sampleText)
	for at := range end {
		for _, bit := range []byte{1, 0x10, 0x20} {
			b := slices.Clone(whole)
			b[at] ^= bit
			if h, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrHead) {
				t.Fatalf("byte %d changed by %#x: %+v, %v", at, bit, h, err)
			}
		}
		if h, err := Read(bytes.NewReader(whole[:at]), int64(at)); !errors.Is(err, ErrHead) {
			t.Fatalf("cut to %d bytes: %+v, %v", at, h, err)
		}
	}
	if h, err := Read(bytes.NewReader(whole), sample.First-1); !errors.Is(err, ErrHead) {
		t.Errorf("a first part that is longer than the file: %+v, %v", h, err)
	}
	for name, first := range map[string]int64{"is inside the head": int64(own), "does not end at four bytes": 4097, "is none": 0} {
		h := sample
		h.First = first
		b := append(archive(h.text()), make([]byte, 5000)...)
		if h, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrHead) {
			t.Errorf("a first part that %s: %+v, %v", name, h, err)
		}
	}
	wrong := errors.New("a disk")
	if _, err := Read(failing{wrong}, 5000); !errors.Is(err, wrong) || errors.Is(err, ErrHead) {
		t.Errorf("a disk that fails is told as %v", err)
	}
}

type failing struct{ err error }

func (f failing) ReadAt(b []byte, _ int64) (int, error) { return iotest.ErrReader(f.err).Read(b) }

func TestAHeadThatNobodyCouldReadIsNotWritten(t *testing.T) {
	for name, h := range map[string]Head{
		"nothing":  {},
		"disorder": {First: 8, Cards: []Card{{2, 1}, {1, 1}}},
		"twice":    {First: 8, Cards: []Card{{2, 1}, {2, 1}}},
		"both":     {First: 8, Cards: []Card{{2, 1}}, Vendors: []uint16{2}},
		"vendor 0": {First: 8, Vendors: []uint16{0}},
		"too many": {First: 8, Cards: many(MaxCards + 1)},
	} {
		if b, err := h.Bytes(); err == nil {
			t.Errorf("%s: %d bytes", name, len(b))
		}
	}
	// The greatest there is, in the form that takes most.
	most := Head{First: 1 << 20, Cards: many(MaxCards)}
	b := image(t, most)
	b = append(b, make([]byte, 1<<20)...)
	if h, err := Read(bytes.NewReader(b), int64(len(b))); err != nil || !h.equal(most) {
		t.Errorf("%d cards: %d, %v", MaxCards, len(h.Cards), err)
	}
}

// many are cards of as many vendors.
func many(n int) (all []Card) {
	for i := range n {
		all = append(all, Card{uint16(i + 1), 7})
	}
	return all
}

var busIDs = map[string]Card{
	"01-1a-f4-10-00": {0x1af4, 0x1000}, "01-80-86-15-33": {0x8086, 0x1533},
	"": {}, "00-00-00-00-00": {}, "02-80-86-15-33": {}, "01-80-86-15": {}, "01-80-86-15-33-00": {}, "01-80-86-15-3G": {}, "0180861533": {}, "01:80:86:15:33": {},
	"01-1A-F4-10-00": {}, "01-00-00-00-00": {}, "01-ff-ff-ff-ff": {}, "${netX/busid:hexhyp}": {}, "0-1-80-86-15-33": {}, "01-80-86-15-33-": {}, "1-80-86-15-33": {},
}

func TestOnlyACardOnPCIIsACard(t *testing.T) {
	for s, want := range busIDs {
		if got, ok := ParseBusID(s); got != want && ok || ok != (want != Card{}) {
			t.Errorf("%q is read as %v, %v", s, got, ok)
		}
	}
}

// Whatever a file begins with: what is read is bounded and in order, and written anew it is what was read.
func FuzzRead(f *testing.F) {
	whole := image(f, sample)
	f.Add(whole[:600])
	f.Add(whole[:200])
	f.Add([]byte("070701"))
	f.Add(bytes.Replace(whole[:600], []byte("1533"), []byte("1003"), 1))
	f.Add(slices.Concat(archive(strings.Replace(sampleText, "1af4 *", "1af4 * *", 1)), make([]byte, 5000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Read(bytes.NewReader(b), 1<<20)
		if err != nil {
			if !errors.Is(err, ErrHead) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		again, err := h.Bytes()
		if err != nil || len(h.Cards)+len(h.Vendors) > MaxCards || h.First > 1<<20 {
			t.Fatalf("%+v cannot be written: %v", h, err)
		}
		end := len(again) - len(record("TRAILER!!!", 0, 0)) - 3
		if !bytes.HasPrefix(b, again[:end]) {
			t.Errorf("%q is written as %q", b, again)
		}
	})
}

func FuzzParseBusID(f *testing.F) {
	for s := range busIDs {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if c, ok := ParseBusID(s); ok && (len(s) != 14 || !strings.HasPrefix(s, "01-") || c.Vendor == 0) {
			t.Errorf("%q is read as %v", s, c)
		}
	})
}
