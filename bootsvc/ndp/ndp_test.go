package ndp

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

var (
	here     = bootsvc.MAC{0x52, 0x54, 0, 1, 2, 3}
	there    = bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 1}
	noted    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	machine1 = netip.MustParseAddr("fe80::5054:ff:fe77:1")
	router1  = netip.MustParseAddr("fe80::1")
)

// asks is the solicitation that iPXE of Debian 12 sends, as it was captured: with the address of its card.
const asks = "333300000002" + "525400770001" + "86dd" + "6000000000103aff" + "fe80000000000000505400fffe770001" + "ff020000000000000000000000000002" +
	"8500" + "d995" + "00000000" + "0101525400770001"

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// The formats are those of RFC 8200, 4443 and 4861; the checksums were added up by another program.
func TestFramesAreAsTheRFCsSay(t *testing.T) {
	q, ok := parse(unhex(asks))
	want := message{from: there, to: allRoutersMAC, src: machine1, dst: allRouters, kind: solicitation, card: there}
	if !ok || q != want {
		t.Errorf("%+v, %v", q, ok)
	}
	const empty = "525400770001" + "525400010203" + "86dd" + "6000000000103aff" + "fe80000000000000505400fffe010203" + "fe80000000000000505400fffe770001" +
		"8600" + "db8e" + "0000" + "0000" + "00000000" + "00000000"
	answer := appendEmpty(nil, here, there, made(here), machine1)
	if got := hex.EncodeToString(answer); got != empty {
		t.Errorf("got  %s\nwant %s", got, empty)
	}
	if m, ok := parse(answer); !ok || m.kind != advertisement || m.lifetime != 0 || m.configures {
		t.Errorf("%+v, %v", m, ok)
	}
	const question = "333300000002" + "525400010203" + "86dd" + "6000000000083aff" + "00000000000000000000000000000000" + "ff020000000000000000000000000002" +
		"8500" + "7bb8" + "00000000"
	if got := hex.EncodeToString(appendQuestion(nil, here)); got != question {
		t.Errorf("got  %s\nwant %s", got, question)
	}
}

// advert is the frame of an advertisement.
func advert(flags byte, lifetime uint16, options string) []byte {
	body := append([]byte{advertisement, 0, 0, 0, 64, flags, byte(lifetime >> 8), byte(lifetime), 0, 0, 0, 0, 0, 0, 0, 0}, unhex(options)...)
	return appendFrame(nil, here, bootsvc.MAC{0x33, 0x33, 0, 0, 0, 1}, router1, netip.MustParseAddr("ff02::1"), body)
}

const prefix = "0304" + "40c0" + "00015180" + "00003840" + "00000000" + "20010db8000000000000000000000000"

// RFC 4861 sections 6.1.1 and 6.1.2 say what is silently discarded.
func TestWhatIsNotValidIsNotHeard(t *testing.T) {
	solicit := func(src netip.Addr, options string) []byte {
		return appendFrame(nil, there, allRoutersMAC, src, allRouters, append([]byte{solicitation, 0, 0, 0, 0, 0, 0, 0}, unhex(options)...))
	}
	change := func(b []byte, at int, to byte) []byte {
		b = slices.Clone(b)
		b[at] = to
		return b
	}
	fromAfar := appendFrame(nil, here, there, netip.MustParseAddr("2001:db8::1"), machine1, []byte{advertBytes - 1: 0, 0: advertisement})
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"as iPXE asks", unhex(asks), true},
		{"padded by Ethernet", append(unhex(asks), 0, 0, 0), true},
		{"without options", solicit(machine1, ""), true},
		{"from nobody", solicit(netip.IPv6Unspecified(), ""), true},
		{"from nobody with a card", solicit(netip.IPv6Unspecified(), "0101525400770001"), false},
		{"an unknown option", solicit(machine1, "fd01000000000000"), true},
		{"an option of no length", solicit(machine1, "0100525400770001"), false},
		{"an option that is cut off", solicit(machine1, "0102525400770001"), false},
		{"more options than anybody sends", solicit(machine1, strings.Repeat("fd01000000000000", maxOptions+1)), false},
		{"through a router", change(unhex(asks), ethernet+7, 254), false},
		{"damaged", change(unhex(asks), len(asks)/2-1, 2), false},
		{"IPv4", change(unhex(asks), 13, 0), false},
		{"UDP", change(unhex(asks), ethernet+6, 17), false},
		{"longer than it is", change(unhex(asks), ethernet+5, 0x18), false},
		{"an advertisement", advert(0, 1800, prefix), true},
		{"an advertisement from afar", fromAfar, false},
		{"a neighbor solicitation", appendFrame(nil, there, here, machine1, router1, []byte{23: 0, 0: 135}), false},
	} {
		if m, ok := parse(c.frame); ok != c.ok {
			t.Errorf("%s: %+v, %v", c.name, m, ok)
		}
	}
	for n := range unhex(asks) {
		if m, ok := parse(unhex(asks)[:n]); ok {
			t.Errorf("cut off after %d bytes: %+v", n, m)
		}
	}
	coded := []byte{solicitation, 1, 0, 0, 0, 0, 0, 0}
	if _, ok := parse(appendFrame(nil, there, allRoutersMAC, machine1, allRouters, coded)); ok {
		t.Error("a solicitation of code 1 is heard")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(asks))
	f.Add(advert(0x80, 1800, prefix))
	f.Add(appendQuestion(nil, here))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, ok := parse(b); ok {
			size := int(b[ethernet+4])<<8 + int(b[ethernet+5])
			again := appendFrame(nil, m.from, m.to, m.src, m.dst, slices.Clone(b[ethernet+ipv6:][:size]))
			if back, ok := parse(again); !ok || back != m {
				t.Errorf("%+v became %+v", m, back)
			}
		}
	})
}

func TestOnlyAMachineThatBootsIsAnswered(t *testing.T) {
	ask, _ := parse(unhex(asks))
	for _, c := range []struct {
		want   string
		change func(*message, *machine, *router)
	}{
		{"it boots", func(*message, *machine, *router) {}},
		{"it boots", func(q *message, _ *machine, _ *router) { q.card = bootsvc.MAC{} }},
		{"it has not asked", func(_ *message, m *machine, _ *router) { *m = machine{} }},
		{"it boots", func(_ *message, m *machine, _ *router) { m.asked = noted.Add(-window) }},
		{"it has not asked", func(_ *message, m *machine, _ *router) { m.asked = noted.Add(-window - 1) }},
		{"a router is there", func(_ *message, _ *machine, r *router) { *r = router{router1, noted, true} }},
		{"a router is there", func(_ *message, _ *machine, r *router) { *r = router{router1, noted.Add(-routerCounts), false} }},
		{"it boots", func(_ *message, _ *machine, r *router) { *r = router{router1, noted.Add(-routerCounts - 1), true} }},
		{"it asks one router", func(q *message, _ *machine, _ *router) { q.dst = router1 }},
		{"it has no link-local", func(q *message, _ *machine, _ *router) { q.src = netip.IPv6Unspecified() }},
		{"it has no link-local", func(q *message, _ *machine, _ *router) { q.src = netip.MustParseAddr("2001:db8::7") }},
		{"it asks for another", func(q *message, _ *machine, _ *router) { q.card = here }},
		{"it was answered", func(_ *message, m *machine, _ *router) { m.answered = noted.Add(-answerAgain + 1) }},
		{"it boots", func(_ *message, m *machine, _ *router) { m.answered = noted.Add(-answerAgain) }},
	} {
		q, m, r := ask, machine{asked: noted}, router{}
		c.change(&q, &m, &r)
		answer, reason := decide(q, m, r, noted)
		if answer != (c.want == "it boots") || !strings.HasPrefix(reason, c.want) {
			t.Errorf("%+v, %+v, %+v: %v, %s; want %s", q, m, r, answer, reason, c.want)
		}
	}
}

func TestARouterIsWhoRoutesOrConfiguresAndSaysGoodbye(t *testing.T) {
	hear := func(r router, b []byte) router {
		m, ok := parse(b)
		if !ok {
			t.Fatal("not valid")
		}
		return r.hear(m, noted)
	}
	none := router{}
	routes, configures := router{router1, noted, true}, router{router1, noted, false}
	for _, c := range []struct {
		before router
		frame  []byte
		after  router
	}{
		{none, advert(0, 1800, ""), routes},
		{none, advert(0, 0, ""), none},
		{none, advert(0, 0, prefix), configures},
		{none, advert(0x80, 0, ""), configures},
		{configures, advert(0, 0, prefix), configures},
		{configures, advert(0, 0, ""), configures},
		{routes, advert(0, 0, prefix), none},
		{routes, appendEmpty(nil, here, there, made(here), machine1), routes},
	} {
		if got := hear(c.before, c.frame); got != c.after {
			t.Errorf("%+v hears %x: %+v, want %+v", c.before, c.frame, got, c.after)
		}
	}
}

// farmOf is a directory in which nobody is silenced but one.
type farmOf struct {
	*filestest.Directory
	silent bootsvc.MAC
}

func (f farmOf) Boot(c bootsvc.Client) bootsvc.Entry {
	e := f.Directory.Boot(c)
	e.Silent = c.MAC == f.silent
	return e
}

// From its first question by DHCP until it has its script a machine is answered; an operating system, and a machine of somebody else, never.
func TestAMachineIsKnownWhileItBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMachines()
		dir := m.Watch(farmOf{filestest.New(), bootsvc.MAC{9}})
		answered := func(mac bootsvc.MAC) bool {
			time.Sleep(answerAgain)
			answer, _ := m.decide(message{kind: solicitation, from: mac, src: machine1, dst: allRouters}, router{}, time.Now())
			return answer
		}
		for i, c := range []struct {
			client bootsvc.Client
			want   bool
		}{
			{bootsvc.Client{Arch: bootsvc.ArchBIOS}, true},
			{bootsvc.Client{Arch: bootsvc.ArchUnknown, IPXE: true}, true},
			{bootsvc.Client{Arch: bootsvc.ArchUnknown}, false},
		} {
			c.client.MAC = bootsvc.MAC{1, byte(i)}
			if dir.Boot(c.client); answered(c.client.MAC) != c.want {
				t.Errorf("%+v: answered %v", c.client, !c.want)
			}
		}
		if dir.Boot(bootsvc.Client{MAC: bootsvc.MAC{9}, IPXE: true}); answered(bootsvc.MAC{9}) {
			t.Error("a machine that the farm has nothing to do with is answered")
		}
		one := bootsvc.MAC{1, 1}
		dir.Note(bootsvc.Event{MAC: one, Service: "dhcp"})
		if !answered(one) {
			t.Error("a machine without its script is forgotten")
		}
		dir.Note(bootsvc.Event{MAC: one, Service: "script", Script: true})
		if answered(one) || !answered(bootsvc.MAC{1, 0}) {
			t.Error("a machine that has its script is answered, or another one is not")
		}
		dir.Boot(bootsvc.Client{MAC: one, IPXE: true})
		if time.Sleep(window); answered(one) {
			t.Error("a machine is answered for more than a minute")
		}
	})
}

func TestTheMachinesThatAreKnownAreBounded(t *testing.T) {
	m := NewMachines()
	number := func(n int) bootsvc.MAC { return bootsvc.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)} }
	for n := range maxMachines + 1 {
		m.ask(number(n), noted)
	}
	if _, there := m.all[number(maxMachines)]; there || len(m.all) != maxMachines {
		t.Errorf("%d machines", len(m.all))
	}
	if m.ask(number(maxMachines), noted.Add(window+1)); len(m.all) != 1 {
		t.Errorf("%d machines after those of old were forgotten", len(m.all))
	}
}
