package dhcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(s string) netip.Addr { return netip.MustParseAddr(s) }

func macOf(n int) bootsvc.MAC {
	return bootsvc.MAC{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)}
}

// testConfig is one subnet, 192.0.2.0/24, with addresses first to last in its pool.
func testConfig(t testing.TB, first, last string) Config {
	t.Helper()
	c := Config{
		Mode: ModeServer, Interface: "test0", Addr: at("192.0.2.1"), Server: bootsvc.Server{Name: "a", Addr: at("192.0.2.1"), HTTP: 6980},
		Subnets: []Subnet{{
			Network: netip.MustParsePrefix("192.0.2.0/24"), Pools: []Range{{at(first), at(last)}}, Router: at("192.0.2.254"),
			DNS: []netip.Addr{at("192.0.2.53")}, Domain: "lab.example", Lease: time.Hour,
		}},
	}
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	return c
}

// book is leases with what they keep.
type book struct {
	*leases
	cfg  Config
	kept []lease
}

func newBook(t testing.TB, c Config) *book {
	b := &book{cfg: c}
	b.leases = newLeases(&b.cfg, func(l lease) { b.kept = append(b.kept, l) })
	return b
}

func (b *book) q(n int, wanted string) question {
	q := question{mac: macOf(n), subnet: &b.cfg.Subnets[0]}
	if wanted != "" {
		q.wanted = at(wanted)
	}
	return q
}

// lease lets a machine take what it is offered.
func (b *book) lease(t *testing.T, n int, now time.Time) netip.Addr {
	t.Helper()
	o := b.offer(b.q(n, ""), now)
	if o.verdict != verdictGive {
		t.Fatalf("machine %d is offered nothing: %s", n, o.why)
	}
	if a := b.take(b.q(n, o.addr.String()), now); a.verdict != verdictGive || a.addr != o.addr {
		t.Fatalf("machine %d does not get %s: %+v", n, o.addr, a)
	}
	return o.addr
}

func TestAMachineKeepsItsAddressAsLongAsNobodyNeedsIt(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.12"))
	first := b.lease(t, 1, start)
	later := start.Add(100 * time.Hour)
	b.lease(t, 2, later)
	if again := b.lease(t, 1, later); again != first {
		t.Errorf("got %s after a long time, had %s", again, first)
	}
}

func TestEndedLeasesAreGivenAgainTheOldestFirst(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.12"))
	var had []netip.Addr
	for i := range 3 {
		had = append(had, b.lease(t, i, start.Add(time.Duration(i)*time.Minute)))
	}
	if o := b.offer(b.q(9, ""), start.Add(30*time.Minute)); o.verdict != verdictSilent || !o.problem || !strings.Contains(o.why, "used up: of 3 addresses 3 are leased or offered; make the pool larger") {
		t.Fatalf("from a full pool: %+v", o)
	}
	for i := range 3 {
		if got := b.lease(t, 10+i, start.Add(2*time.Hour)); got != had[i] {
			t.Errorf("new machine %d got %s, want %s", i, got, had[i])
		}
	}
}

func TestADeclinedAddressIsNotOfferedAgainForAWhile(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.11"))
	bad := b.lease(t, 1, start)
	if a := b.decline(macOf(2), bad, start); a.problem {
		t.Error("a machine could decline what it was not given")
	}
	if a := b.decline(macOf(1), bad, start); !a.problem {
		t.Errorf("a declined address is no problem: %+v", a)
	}
	good := b.lease(t, 1, start)
	if good == bad {
		t.Fatalf("%s is given again", bad)
	}
	if o := b.offer(b.q(2, bad.String()), start); o.verdict != verdictSilent || !strings.Contains(o.why, "1 used by strangers") {
		t.Errorf("%+v", o)
	}
	if o := b.offer(b.q(2, ""), start.Add(quarantine)); o.addr != bad {
		t.Errorf("after the quarantine: %+v", o)
	}
}

// A machine that declines all it gets leaves half of the pool to others.
func TestDecliningTakesAtMostHalfOfThePool(t *testing.T) {
	b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.29"))
	now := start
	for range 100 {
		b.decline(macOf(1), b.lease(t, 1, now), now)
		now = now.Add(time.Second)
	}
	for i := range 10 {
		b.lease(t, 2+i, now)
	}
}

func TestAReservationIsForItsDeviceAloneAndComesBeforeThePool(t *testing.T) {
	c := testConfig(t, "192.0.2.10", "192.0.2.11")
	c.Reserved = func() []netip.Addr { return []netip.Addr{at("192.0.2.10"), at("192.0.2.77")} }
	b := newBook(t, c)
	if got := b.lease(t, 1, start); got != at("192.0.2.11") {
		t.Errorf("another one got %s", got)
	}
	if o := b.offer(b.q(2, "192.0.2.10"), start); o.verdict != verdictSilent {
		t.Errorf("the reserved address is offered: %+v", o)
	}
	q := b.q(3, "")
	q.reserved = at("192.0.2.77")
	if o := b.offer(q, start); o.addr != q.reserved {
		t.Errorf("its owner is offered %+v", o)
	}
	q.wanted = q.reserved
	if a := b.take(q, start); a.verdict != verdictGive {
		t.Errorf("its owner gets %+v", a)
	}
	// A reservation that somebody sits on: the device boots all the same, and it is told.
	b.conflict(q.reserved, macOf(9), start)
	b.release(macOf(1), at("192.0.2.11"), start)
	if o := b.offer(q, start); o.addr != at("192.0.2.11") || !o.problem {
		t.Errorf("with its address in use: %+v", o)
	}
}

// RFC 2131 section 4.3.2, case by case.
func TestRequestsAreGrantedRefusedOrLeftAloneAsTheRFCSays(t *testing.T) {
	for _, c := range []struct {
		name   string
		method func(*leases, question, time.Time) answer
		mac    int
		wanted string
		want   verdict
	}{
		{"selecting: our offer", (*leases).take, 1, "192.0.2.10", verdictGive},
		{"selecting: forgotten offer of a free address", (*leases).take, 5, "192.0.2.40", verdictGive},
		{"selecting: another machine's", (*leases).take, 5, "192.0.2.10", verdictRefuse},
		{"selecting: outside of the pools", (*leases).take, 5, "192.0.2.200", verdictRefuse},
		{"selecting: the router", (*leases).take, 5, "192.0.2.254", verdictRefuse},
		{"reboot: its own", (*leases).reboot, 1, "192.0.2.10", verdictGive},
		{"reboot: unknown machine", (*leases).reboot, 5, "192.0.2.40", verdictSilent},
		{"reboot: wrong network", (*leases).reboot, 5, "198.51.100.7", verdictRefuse},
		{"reboot: another machine's", (*leases).reboot, 5, "192.0.2.10", verdictRefuse},
		{"reboot: known with another address", (*leases).reboot, 1, "192.0.2.40", verdictRefuse},
		{"renew: its own", (*leases).renew, 1, "192.0.2.10", verdictGive},
		{"renew: unknown and free", (*leases).renew, 5, "192.0.2.40", verdictGive},
		{"renew: another machine's", (*leases).renew, 5, "192.0.2.10", verdictRefuse},
		{"renew: wrong network", (*leases).renew, 5, "198.51.100.7", verdictRefuse},
		{"renew: a fixed address", (*leases).renew, 5, "192.0.2.200", verdictSilent},
	} {
		b := newBook(t, testConfig(t, "192.0.2.10", "192.0.2.99"))
		if got := b.lease(t, 1, start); got != at("192.0.2.10") {
			t.Fatal(got)
		}
		a := c.method(b.leases, b.q(c.mac, c.wanted), start.Add(time.Minute))
		if a.verdict != c.want || a.why == "" {
			t.Errorf("%s: %+v, want verdict %d", c.name, a, c.want)
		}
		if c.want == verdictGive {
			if l := b.byAddr[at(c.wanted)]; l == nil || l.MAC != macOf(c.mac) || !l.Until.Equal(start.Add(time.Minute+time.Hour)) {
				t.Errorf("%s: the book has %+v", c.name, l)
			}
		}
	}
}

// Two servers share a pool. Neither gives away what the other might; either keeps a machine going.
func TestTwoServersNeverGiveOneAddressToTwoMachinesAndStandInForOneAnother(t *testing.T) {
	c := testConfig(t, "192.0.2.10", "192.0.2.29")
	c.Share = Share{0, 2}
	a := newBook(t, c)
	c.Share = Share{1, 2}
	b := newBook(t, c)
	for i := range 10 {
		one, other := a.offer(a.q(i, ""), start), b.offer(b.q(i, ""), start)
		if one.addr == other.addr || one.verdict != verdictGive || other.verdict != verdictGive {
			t.Fatalf("machine %d: %+v and %+v", i, one, other)
		}
		// It takes a's offer; b hears that.
		a.take(a.q(i, one.addr.String()), start)
		b.other(b.q(i, one.addr.String()), true, start)
	}
	for i := range 10 { // all of b's offers are withdrawn: its share is free for ten others
		b.lease(t, 100+i, start)
	}
	for i := range 10 { // a has died
		l := a.byMAC[macOf(i)]
		now := start.Add(30 * time.Minute)
		if r := b.renew(b.q(i, l.Addr.String()), now); r.verdict != verdictGive {
			t.Errorf("machine %d rebinds %s: %+v", i, l.Addr, r)
		}
		if r := b.reboot(b.q(i, l.Addr.String()), now); r.verdict != verdictGive || !r.probe {
			t.Errorf("machine %d comes back with %s: %+v", i, l.Addr, r)
		}
	}
	if o := b.offer(b.q(200, ""), start.Add(time.Minute)); o.verdict != verdictSilent || !strings.Contains(o.why, "this server's share") {
		t.Errorf("a new machine from an empty share: %+v", o)
	}
	stranger := newBook(t, c) // was not there when the lease was made
	if r := stranger.renew(stranger.q(1, a.byMAC[macOf(1)].Addr.String()), start); r.verdict != verdictGive {
		t.Errorf("a server that knows nothing, asked to rebind: %+v", r)
	}
	if r := stranger.reboot(stranger.q(2, a.byMAC[macOf(2)].Addr.String()), start); r.verdict != verdictSilent {
		t.Errorf("a server that knows nothing, asked after a reboot: %+v", r)
	}
}

// A RELEASE goes to one server alone. The other one believes for an hour that the address belongs to the machine that gave it back;
// it must neither complain nor take the address from the next one, whose disk is behind it.
func TestWhatAServerHasHeardOfAnothersShareTakesNoAddressFromAMachine(t *testing.T) {
	c := testConfig(t, "192.0.2.10", "192.0.2.29")
	c.Share = Share{1, 2}
	b := newBook(t, c)
	b.other(b.q(1, "192.0.2.10"), true, start) // the first one takes it from the other server, and gives it back there
	later := start.Add(time.Minute)
	for _, r := range []answer{b.renew(b.q(2, "192.0.2.10"), later), b.reboot(b.q(2, "192.0.2.10"), later)} {
		if r.verdict != verdictSilent {
			t.Errorf("what was only heard refuses a machine its address: %+v", r)
		}
	}
	if r := b.other(b.q(2, "192.0.2.10"), true, later); r.problem {
		t.Errorf("the server of the share has given its address again, and that is a problem: %+v", r)
	}
	if r := b.renew(b.q(2, "192.0.2.10"), later.Add(time.Minute)); r.verdict != verdictGive {
		t.Errorf("the newer holder: %+v", r)
	}
	if r := b.renew(b.q(1, "192.0.2.10"), later.Add(time.Minute)); r.verdict != verdictSilent {
		t.Errorf("the older holder: %+v", r)
	}
	own := b.lease(t, 3, later)
	if r := b.renew(b.q(4, own.String()), later); r.verdict != verdictRefuse {
		t.Errorf("an address of the own share: %+v", r)
	}
}

// A server that was down while the other one renewed an address of its share believes the lease to have ended, and is about to offer the
// address. The machine answers by ARP, and when the other server dies it asks this one: it must not lose the address.
func TestAMachineThatWasFoundByARPKeepsItsAddress(t *testing.T) {
	c := testConfig(t, "192.0.2.10", "192.0.2.29")
	c.Share = Share{0, 2}
	b := newBook(t, c)
	a := b.lease(t, 1, start)
	ended := start.Add(2 * time.Hour)
	b.conflict(a, macOf(1), ended)
	if o := b.offer(b.q(2, a.String()), ended); o.addr == a {
		t.Errorf("the address is offered to another machine: %+v", o)
	}
	if r := b.renew(b.q(2, a.String()), ended); r.verdict != verdictRefuse {
		t.Errorf("another machine wants to keep it: %+v", r)
	}
	if r := b.renew(b.q(1, a.String()), ended.Add(time.Minute)); r.verdict != verdictGive {
		t.Errorf("the machine that has it wants to keep it: %+v", r)
	}
	if l := b.byAddr[a]; l.State != stateHeld || b.bad != 0 {
		t.Errorf("%+v, %d in quarantine", l, b.bad)
	}
	// One that declines an address does not know who has it, and asks for it again at most by mistake.
	b.decline(macOf(1), a, ended.Add(time.Minute))
	if r := b.renew(b.q(1, a.String()), ended.Add(2*time.Minute)); r.verdict != verdictRefuse {
		t.Errorf("the machine that has declined it: %+v", r)
	}
}

// While both servers live, firmware, iPXE and operating system of one boot get one address, whichever server is faster.
func TestADiscoverIsLeftToTheServerOfTheLeaseUntilThatOneIsSeenToBeSilent(t *testing.T) {
	c := testConfig(t, "192.0.2.10", "192.0.2.29")
	c.Share = Share{1, 2}
	b := newBook(t, c)
	b.other(b.q(1, "192.0.2.10"), true, start)
	if o := b.offer(b.q(1, ""), start.Add(time.Second)); o.verdict != verdictSilent || o.problem {
		t.Fatalf("first: %+v", o)
	}
	b.other(b.q(1, "192.0.2.10"), true, start.Add(2*time.Second)) // the other server has answered
	if o := b.offer(b.q(1, ""), start.Add(20*time.Second)); o.verdict != verdictSilent {
		t.Fatalf("iPXE: %+v", o)
	}
	if o := b.offer(b.q(1, ""), start.Add(24*time.Second)); o.verdict != verdictGive || !c.Share.owns(o.addr) {
		t.Fatalf("iPXE, asking again: %+v", o)
	}
}
