package dhcp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
	"github.com/spate-project/spate/bootsvc/probe"
)

// quietCore is a server that has looked ahead, with silence since start.
func quietCore(t *testing.T, c Config) (*core, *fakeDirectory) {
	t.Helper()
	d := &fakeDirectory{}
	v := newCore(c, d, func(lease) {})
	if next := v.tick(start.Add(-arpWait)); !next.Equal(start) || len(v.questions) != aheadMost || v.questions[0] != at("192.0.2.10") {
		t.Fatalf("asks for %v, next at %v", v.questions, next)
	}
	v.tick(start)
	v.questions = nil
	return v, d
}

// send has a machine send a DISCOVER or, with an address, a REQUEST for it; the replies that go out at once.
func (c *core) send(t *testing.T, now time.Time, n int, wanted netip.Addr) (replies []*dhcpv4.DHCPv4) {
	t.Helper()
	p := probe.UEFI.Discover(macOf(n), [4]byte{byte(n)})
	if wanted.IsValid() {
		p.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeRequest))
		p.UpdateOption(dhcpv4.OptRequestedIPAddress(netip4(wanted)))
		p.UpdateOption(dhcpv4.OptServerIdentifier(netip4(c.cfg.Addr)))
	}
	c.out = nil
	c.receive(now, packet{bytes: p.ToBytes(), broadcast: true})
	for _, o := range c.out {
		r, err := dhcpv4.FromBytes(o.bytes)
		if err != nil {
			t.Fatal(err)
		}
		replies = append(replies, r)
	}
	return replies
}

func (c *core) claim(now time.Time, mac bootsvc.MAC, a string) {
	c.heard(now, link.Claim{MAC: link.MAC(mac), Addr: at(a)})
}

var nobody netip.Addr

// Silence counts from when the answers had their time until it is too old; a question that could not be sent has no silence.
func TestAnAddressThatWasLookedAtAheadIsOfferedAtOnceAndAnOldLookWaits(t *testing.T) {
	for _, c := range []struct {
		name string
		age  time.Duration
		do   func(*core)
		now  bool
	}{
		{"just looked at", 0, func(*core) {}, true},
		{"a minute ago, nearly", aheadStale - 1, func(*core) {}, true},
		{"a minute ago", aheadStale, func(*core) {}, false},
		{"not sent", 0, func(c *core) { c.ahead.unasked(at("192.0.2.10")) }, false},
		{"sent, but nobody had the time to answer", 0, func(c *core) {
			*c = *newCore(c.cfg, c.dir, func(lease) {})
			c.tick(start.Add(1 - arpWait))
			c.questions = nil
			c.tick(start)
		}, false},
	} {
		v, _ := quietCore(t, testConfig(t, "192.0.2.10", "192.0.2.49"))
		c.do(v)
		now := start.Add(c.age)
		r := v.send(t, now, 1, nobody)
		if (len(r) == 1) != c.now || (len(v.pending) == 0) != c.now {
			t.Fatalf("%s: %d replies at once, %d wait", c.name, len(r), len(v.pending))
		}
		if !slices.Equal(v.questions, []netip.Addr{at("192.0.2.10")}) { // with the offer, or before it
			t.Errorf("%s: asks for %v", c.name, v.questions)
		}
		if next := v.tick(now); !c.now && next.After(now.Add(arpWait)) {
			t.Errorf("%s: the offer waits until %v later", c.name, next.Sub(now))
		}
		v.tick(now.Add(arpWait))
		if p, err := dhcpv4.FromBytes(v.out[0].bytes); err != nil || len(v.out) != 1 || ip(p.YourIPAddr) != at("192.0.2.10") {
			t.Errorf("%s: %d replies, %v: %s", c.name, len(v.out), err, p.Summary())
		}
	}
}

// It comes from no pool, so it was not asked for ahead.
func TestAReservedAddressIsAskedForWhenItIsOffered(t *testing.T) {
	v, d := quietCore(t, testConfig(t, "192.0.2.10", "192.0.2.49"))
	d.entry = func(bootsvc.Client) bootsvc.Entry { return bootsvc.Entry{Address: at("192.0.2.200")} }
	if r := v.send(t, start, 1, nobody); len(r) != 0 {
		t.Fatalf("at once: %v", r)
	}
	if next := v.tick(start); !next.Equal(start.Add(arpWait)) || len(v.out) != 0 {
		t.Errorf("the offer waits for %v", next.Sub(start))
	}
	if v.tick(start.Add(arpWait)); len(v.out) != 1 {
		t.Errorf("then %d replies", len(v.out))
	}
}

// Also when the answer comes long after the question, or unasked.
func TestAnAddressThatWasClaimedAheadIsNeverOfferedAndTheNextOneIs(t *testing.T) {
	for _, late := range []time.Duration{0, arpWait / 2, 30 * time.Second} {
		d := &fakeDirectory{}
		v := newCore(testConfig(t, "192.0.2.10", "192.0.2.49"), d, func(lease) {})
		v.tick(start)
		if late > arpWait {
			v.tick(start.Add(arpWait))
		}
		v.questions = nil
		v.claim(start.Add(late), macOf(9), "192.0.2.10")
		v.claim(start.Add(late), macOf(9), "192.0.2.200") // nobody's business
		now := start.Add(max(late, arpWait))
		v.tick(now)
		if len(d.events) != 1 || !d.events[0].Problem || !strings.Contains(d.events[0].Text, "192.0.2.10 is used by 52:54:00:00:00:09, which did not get it from here; it is left alone for 10m") {
			t.Errorf("after %v is told %+v", late, d.events)
		}
		if o := v.leases.byAddr[at("192.0.2.10")]; len(v.leases.byAddr) != 1 || o.State != stateDeclined || o.MAC != macOf(9) {
			t.Errorf("after %v the book has %+v", late, o)
		}
		if !slices.Equal(v.questions, []netip.Addr{at("192.0.2.18")}) {
			t.Errorf("after %v it goes on with %v", late, v.questions)
		}
		if r := v.send(t, now, 1, nobody); len(r) != 1 || ip(r[0].YourIPAddr) != at("192.0.2.11") {
			t.Errorf("after %v is offered %v", late, r)
		}
	}
}

// The offer went out at once, and then somebody else answers: the machine must not use the address. Its own answer, and what comes when
// it has the address, harm nobody.
func TestWhoClaimsAnOfferedAddressBeforeItIsTakenKeepsIt(t *testing.T) {
	for _, c := range []struct {
		name   string
		user   int
		first  bool // the machine takes the offer before somebody answers
		want   dhcpv4.MessageType
		events int
	}{
		{"a stranger", 9, false, dhcpv4.MessageTypeNak, 3},
		{"the machine itself", 1, false, dhcpv4.MessageTypeAck, 2},
		{"a stranger, too late", 9, true, dhcpv4.MessageTypeAck, 2},
	} {
		v, d := quietCore(t, testConfig(t, "192.0.2.10", "192.0.2.49"))
		offer := v.send(t, start, 1, nobody)
		later := start.Add(time.Second)
		if !c.first {
			v.claim(later, macOf(c.user), "192.0.2.10")
		}
		r := v.send(t, later, 1, ip(offer[0].YourIPAddr))
		if c.first {
			v.claim(later, macOf(c.user), "192.0.2.10")
		}
		if len(r) != 1 || r[0].MessageType() != c.want || len(d.events) != c.events {
			t.Fatalf("%s: %v; told %+v", c.name, r, d.events)
		}
		if o := v.leases.byAddr[at("192.0.2.10")]; (o.State == stateDeclined) != (c.want == dhcpv4.MessageTypeNak) {
			t.Errorf("%s: the book has %+v", c.name, o)
		}
		if again := v.send(t, later, 1, nobody); c.want == dhcpv4.MessageTypeNak && (len(again) != 1 || ip(again[0].YourIPAddr) != at("192.0.2.11")) {
			t.Errorf("%s: after the refusal: %v", c.name, again)
		}
	}
}

// idle steps a server for an hour with nothing to do, and gives what it asks and how often it was stepped.
func idle(t *testing.T, v *core, each func(now time.Time, asked []netip.Addr)) (questions, steps int) {
	t.Helper()
	for now := start; now.Before(start.Add(time.Hour)); steps++ {
		next := v.tick(now)
		if next.IsZero() {
			return questions, steps
		}
		if !next.After(now) {
			t.Fatalf("after %v the next step is at once", now.Sub(start))
		}
		asked := v.questions
		questions, v.questions = questions+len(asked), nil
		each(now, asked)
		now = next
	}
	return questions, steps
}

func TestAnIdleServerAsksSeldomAndItsSilenceIsNeverOld(t *testing.T) {
	c := captureConfig(t, ModeServer)
	v := newCore(c, &fakeDirectory{}, func(lease) {})
	questions, steps := idle(t, v, func(now time.Time, asked []netip.Addr) {
		for _, a := range asked {
			if !c.Subnets[0].Network.Contains(a) {
				t.Errorf("asks for %s, which is behind a relay agent", a)
			}
		}
		for _, l := range v.ahead.looks {
			if now.After(start) && now.Add(arpWait).Sub(l.quiet) >= aheadStale {
				t.Errorf("after %v what is known of %s is of %v", now.Sub(start), l.addr, l.quiet.Sub(start))
			}
		}
	})
	const rounds = int(time.Hour/aheadAgain) + 1
	if questions < aheadMost*(rounds-1) || questions > aheadMost*rounds || steps > 2*rounds {
		t.Errorf("%d questions, %d steps in an hour", questions, steps)
	}
}

// A router that answers for everybody, or somebody who wants all addresses for himself.
func TestAStrangerThatAnswersForEachAddressIsNotAskedAboutTheWholePoolAtOnce(t *testing.T) {
	v := newCore(testConfig(t, "192.0.2.2", "192.0.2.250"), &fakeDirectory{}, func(lease) {})
	for now := start; now.Before(start.Add(aheadAgain)); now = now.Add(10 * time.Millisecond) {
		v.tick(now)
		for _, a := range v.questions {
			v.claim(now, macOf(9), a.String())
		}
		v.questions = nil
	}
	if n := v.leases.bad; n != aheadMost {
		t.Errorf("%d addresses are in quarantine", n)
	}
	v.tick(start.Add(aheadAgain))
	if len(v.questions) != aheadMost {
		t.Errorf("later it asks for %v", v.questions)
	}
}

func TestAProxyAsksNothingAhead(t *testing.T) {
	v := newCore(captureConfig(t, ModeProxy), &fakeDirectory{}, func(lease) {})
	if questions, steps := idle(t, v, func(time.Time, []netip.Addr) {}); questions != 0 || steps != 0 {
		t.Errorf("%d questions, %d steps", questions, steps)
	}
	v.claim(start, macOf(9), "10.77.0.50")
	if len(v.leases.byAddr) != 0 {
		t.Error("it has noted whose address is whose")
	}
}

// A machine that rebinds has its address from an earlier life of this server; nobody has offered it here.
func TestAnAddressThatAMachineHoldsAfterAllIsNotKeptForOthers(t *testing.T) {
	v, d := quietCore(t, testConfig(t, "192.0.2.10", "192.0.2.49"))
	v.leases.renew(question{mac: macOf(1), subnet: v.ahead.subnet, wanted: at("192.0.2.10")}, start)
	v.tick(start)
	v.leases.renew(question{mac: macOf(2), subnet: v.ahead.subnet, wanted: at("192.0.2.11")}, start)
	v.claim(start, macOf(2), "192.0.2.11") // it uses it at once
	v.tick(start)
	if want := []netip.Addr{at("192.0.2.18"), at("192.0.2.19")}; !slices.Equal(v.questions, want) || len(d.events) != 0 {
		t.Errorf("goes on with %v; told %+v", v.questions, d.events)
	}
	if r := v.send(t, start, 3, nobody); len(r) != 1 || ip(r[0].YourIPAddr) != at("192.0.2.12") {
		t.Errorf("the next machine is offered %v", r)
	}
}

// During the storm most offers wait, because the addresses go faster than ARP is asked; then the next ones are known again.
func TestAfterAStormTheNextMachinesGetTheirOffersAtOnce(t *testing.T) {
	for _, seed := range seeds() {
		s := newStorm(t, seed, 300, "10.1.3.255")
		s.run()
		for _, v := range s.servers {
			now := s.now.Add(2 * offerHold) // the last offers that nobody took have ended
			for range 3 {
				v.tick(now)
				now = now.Add(arpWait)
			}
			for n := range aheadMost {
				if r := v.send(t, now, 1000+n, nobody); len(r) != 1 {
					t.Errorf("seed %d: machine %d after the storm: %d replies at once", seed, n, len(r))
				}
			}
		}
	}
}

// Whatever has happened to the pool.
func TestWhatIsAskedAheadIsWhatNewMachinesGet(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		c := testConfig(t, "192.0.2.10", "192.0.2.29")
		c.Subnets[0].Pools = append(c.Subnets[0].Pools, Range{at("192.0.2.40"), at("192.0.2.49")})
		c.Share = Share{int(seed % 2), 2}
		c.Reserved = func() []netip.Addr { return []netip.Addr{at("192.0.2.12"), at("192.0.2.13")} }
		b := newBook(t, c)
		now := start
		for range r.IntN(40) {
			now = now.Add(time.Duration(r.Int64N(int64(20 * time.Minute))))
			n := r.IntN(12)
			switch o := b.offer(b.q(n, ""), now); {
			case o.verdict != verdictGive || r.IntN(3) == 0:
			case r.IntN(4) == 0:
				b.other(b.q(n, ""), false, now)
			case r.IntN(4) == 0:
				b.decline(macOf(n), o.addr, now)
			default:
				b.take(b.q(n, o.addr.String()), now)
			}
		}
		want := b.upcoming(&b.cfg.Subnets[0], aheadMost, now)
		var got []netip.Addr
		for i := range aheadMost {
			if o := b.offer(b.q(100+i, ""), now); o.verdict == verdictGive {
				got = append(got, o.addr)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: expected %v, given %v", seed, want, got)
		}
	}
}
