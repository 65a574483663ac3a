package secure

import (
	"encoding/binary"
	"net/netip"

	"golang.zx2c4.com/wireguard/device"

	"github.com/spate-project/spate/stream/wire"
)

// CookieLife is how long a cookie proves an address.
const CookieLife = device.CookieRefreshTime

const (
	sourceSize = 16 + 2
	macsLeast  = wire.FirstSize
)

// Cookies is a server's side of the proof of address. It may be used by any goroutine.
//
// The MACs and cookies are WireGuard's, with the farm's public key in the place of the receiver's. Its code draws the cookie secret
// and nonces from the system's randomness and ages cookies by the system's clock, at both ends; nothing else in this package does.
type Cookies struct {
	farm     *Farm
	checkers []*device.CookieChecker // one a generation, in the same order
}

// NewCookies makes the checkers for the generations of a farm.
func NewCookies(f *Farm) *Cookies {
	c := &Cookies{farm: f}
	for _, g := range f.generations {
		checker := new(device.CookieChecker)
		checker.Init(device.NoisePublicKey(g.public))
		c.checkers = append(c.checkers, checker)
	}
	return c
}

// Check1 tells whether mac1 of a Hello or Resume fits: whoever sent it knows the farm's public key. It is cheap and comes first.
func (c *Cookies) Check1(datagram []byte) bool {
	_, ok := c.farm.checkMAC1(datagram)
	return ok
}

// Check2 tells whether the datagram proves its address: it carries a MAC under a cookie that was sent there.
func (c *Cookies) Check2(datagram []byte, from netip.AddrPort) bool {
	i, ok := c.farm.checkMAC1(datagram)
	if !ok {
		return false
	}
	src := source(from)
	return c.checkers[i].CheckMAC2(datagram, src[:])
}

// Reply appends a Cookie for the sender of a Hello or Resume. It returns nil when mac1 does not fit: then there is no answer at
// all. A Cookie is shorter than anything that it can answer.
func (c *Cookies) Reply(dst, datagram []byte, from netip.AddrPort) []byte {
	i, ok := c.farm.checkMAC1(datagram)
	if !ok {
		return nil
	}
	index, _ := wire.Index(datagram)
	src := source(from)
	reply, err := c.checkers[i].CreateReply(datagram, index, src[:])
	if err != nil {
		return nil
	}
	return wire.Cookie{Receiver: index, Nonce: reply.Nonce, Sealed: reply.Cookie}.Append(dst)
}

// checkMAC1 finds the generation under whose public key mac1 fits.
func (f *Farm) checkMAC1(datagram []byte) (generation int, ok bool) {
	kind, err := wire.Peek(datagram)
	if err != nil || len(datagram) < macsLeast || kind != wire.KindHello && kind != wire.KindResume {
		return 0, false
	}
	for i, g := range f.generations {
		if g.mac1.CheckMAC1(datagram) {
			return i, true
		}
	}
	return 0, false
}

// source is an address as cookies are bound to it.
func source(from netip.AddrPort) (b [sourceSize]byte) {
	a := from.Addr().As16()
	copy(b[:], a[:])
	binary.LittleEndian.PutUint16(b[16:], from.Port())
	return b
}

// first is a datagram to a server that has not proven itself and to which the target has not proven its address: it ends with the
// MACs, is sent again byte by byte, and with a cookie when one is held.
type first struct {
	datagram []byte
	index    uint32
	cookies  device.CookieGenerator
}

// pad fills the datagram with zeros up to FirstSize, room for the MACs included, and sets mac1.
func (f *first) pad(farm PublicKey, datagram []byte, index uint32) {
	f.datagram = append(datagram, make([]byte, wire.FirstSize-len(datagram))...)
	f.index = index
	f.cookies.Init(device.NoisePublicKey(farm))
	f.cookies.AddMacs(f.datagram)
}

// again appends the datagram to dst. Both MACs are computed anew: mac2 appears with a cookie and goes when it is too old.
func (f *first) again(dst []byte) []byte {
	clear(f.datagram[len(f.datagram)-wire.MACSize:])
	f.cookies.AddMacs(f.datagram)
	return append(dst, f.datagram...)
}

// cookie takes a server's Cookie. One that does not open changes nothing.
func (f *first) cookie(datagram []byte) error {
	c, err := wire.ParseCookie(datagram)
	if err != nil {
		return fromWire(err)
	}
	if c.Receiver != f.index || len(f.datagram) == 0 {
		return ErrForged
	}
	if !f.cookies.ConsumeReply(&device.MessageCookieReply{Receiver: c.Receiver, Nonce: c.Nonce, Cookie: c.Sealed}) {
		return ErrForged
	}
	return nil
}
