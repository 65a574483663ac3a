package udp

import (
	"net/netip"
	"testing"
	"time"
)

func pathAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

// One path that cannot do GSO says nothing about the others, and gets another chance later.
func TestAPathWithoutGSOIsLeftAloneForAWhile(t *testing.T) {
	var p paths
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	p.add(pathAddr(1), "no", now)
	if p.usable(pathAddr(1), clock) || !p.usable(pathAddr(2), clock) {
		t.Error("the failing path is used, or the good one is not")
	}
	var o Offloads
	if p.describe(&o); !o.GSO || o.PlainPaths != 1 || o.GSOReason != "no" {
		t.Errorf("Offloads say %+v", o)
	}
	now = now.Add(plainPathFor + time.Second)
	if !p.usable(pathAddr(1), clock) {
		t.Error("the path is never tried again")
	}
}

// The table is bounded; when it is full GSO is off, with the reason.
func TestTooManyPathsWithoutGSOSwitchItOff(t *testing.T) {
	var p paths
	now := time.Unix(1000, 0)
	for i := range maxPlainPaths + 1 {
		p.add(pathAddr(i), "no", now)
	}
	if got := len(*p.plain.Load()); got != maxPlainPaths {
		t.Errorf("%d entries, the bound is %d", got, maxPlainPaths)
	}
	var o Offloads
	if p.describe(&o); o.GSO || o.GSOReason == "" || p.usable(pathAddr(9999), time.Now) {
		t.Errorf("GSO is still on: %+v", o)
	}
}
