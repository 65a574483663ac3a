package link

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

var (
	here  = MAC{0x52, 0x54, 0, 1, 2, 3}
	there = MAC{0x52, 0x54, 0, 4, 5, 6}
)

// The formats are those of RFC 791, 768 and 826, the checksums added up by hand.
func TestFramesAreAsTheRFCsSay(t *testing.T) {
	d := Datagram{SrcMAC: here, DstMAC: there, Src: netip.MustParseAddrPort("192.0.2.1:67"), Dst: netip.MustParseAddrPort("192.0.2.9:68"), Payload: []byte("abc")}
	const want = "525400040506" + "525400010203" + "0800" + "4500001f000040004011b6c3c0000201c0000209" + "00430044000bb6e3" + "616263"
	if got := hex.EncodeToString(d.Append(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	back, ok := ParseDatagram(append(d.Append(nil), 0, 0, 0, 0)) // Ethernet pads
	if !ok || !bytes.Equal(back.Payload, d.Payload) || back.Src != d.Src || back.Dst != d.Dst || back.SrcMAC != here || back.DstMAC != there {
		t.Errorf("%+v, %v", back, ok)
	}
	q := AppendQuestion(nil, here, netip.MustParseAddr("192.0.2.9"))
	const ask = "ffffffffffff" + "525400010203" + "0806" + "0001080006040001" + "525400010203" + "00000000" + "000000000000" + "c0000209"
	if got := hex.EncodeToString(q); got != ask {
		t.Errorf("got  %s\nwant %s", got, ask)
	}
	if _, ok := ParseClaim(q); ok {
		t.Error("a question is taken for a claim")
	}
	copy(q[ethernet+14:], []byte{192, 0, 2, 9}) // somebody announces itself
	if c, ok := ParseClaim(q); !ok || c.MAC != here || c.Addr != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("%+v, %v", c, ok)
	}
}

func FuzzFrame(f *testing.F) {
	whole := Datagram{SrcMAC: here, DstMAC: there, Src: netip.MustParseAddrPort("192.0.2.1:67"), Dst: netip.MustParseAddrPort("192.0.2.9:68"), Payload: []byte("abc")}.Append(nil)
	for n := range whole {
		f.Add(whole[:n])
	}
	f.Add(whole)
	f.Add(AppendQuestion(nil, here, netip.MustParseAddr("192.0.2.9")))
	f.Fuzz(func(t *testing.T, b []byte) {
		ParseClaim(b)
		if d, ok := ParseDatagram(b); ok {
			again, ok := ParseDatagram(d.Append(nil))
			if !ok || !bytes.Equal(again.Payload, d.Payload) || again.Src != d.Src || again.Dst != d.Dst {
				t.Errorf("%+v became %+v", d, again)
			}
		}
	})
}
