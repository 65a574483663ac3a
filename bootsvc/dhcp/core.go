package dhcp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp/link"
)

// core is the whole service but for sockets and clock. It is stepped: each method takes the time, and what is to be sent and asked
// lies in out and questions until the shell takes it. It belongs to one goroutine.
type core struct {
	cfg    Config
	dir    bootsvc.Directory
	leases *leases
	ahead  ahead

	out       []outgoing
	questions []netip.Addr // to be asked by ARP
	pending   []pending    // in the order of their deadlines, because all wait equally long
	asked     map[netip.Addr]*claims
	limits    limiter
	noted     map[bootsvc.MAC]note
	rogues    map[netip.Addr]time.Time // when each was heard last
}

type outgoing struct {
	bytes []byte
	to    target
	boot  bool // from port 4011
}

// pending is an offer that waits for ARP.
type pending struct {
	ask      ask
	entry    bootsvc.Entry
	answer   answer
	deadline time.Time
	tries    int
}

// claims are the machines that answered for an address that is asked for, and how many offers wait for it.
type claims struct {
	by      []bootsvc.MAC
	waiting int
}

type note struct {
	text string
	at   time.Time
}

func newCore(cfg Config, dir bootsvc.Directory, keep func(lease)) *core {
	c := &core{cfg: cfg, dir: dir, asked: map[netip.Addr]*claims{}, noted: map[bootsvc.MAC]note{}, rogues: map[netip.Addr]time.Time{}}
	c.leases = newLeases(&c.cfg, keep)
	c.ahead.leases = c.leases
	if cfg.Mode == ModeServer {
		c.ahead.subnet = c.cfg.subnet(cfg.Addr)
	}
	return c
}

// receive takes a packet that came to port 67 or 4011.
func (c *core) receive(now time.Time, in packet) {
	a, no := c.cfg.read(in)
	if no != nil && no.hush {
		return
	}
	if whose, why, ok := c.limits.allow(now, a.MAC); !ok {
		if why != "" {
			c.note(now, whose, true, "%s; the rest is not looked at", why)
		}
		return
	}
	if no != nil {
		c.note(now, a.MAC, no.problem, "%s: no answer: %s", strings.TrimSuffix(c.about(a), ","), no.reason)
		return
	}
	e := c.dir.Boot(a.Client)
	c.finish(now, a, e, c.lookUp(now, a, e), 0)
}

// lookUp asks the leases, where the packet is about an address.
func (c *core) lookUp(now time.Time, a ask, e bootsvc.Entry) answer {
	if c.cfg.Mode == ModeProxy || a.kind == kindBoot || a.kind == kindInform {
		return answer{}
	}
	q := question{mac: a.MAC, subnet: a.subnet, wanted: a.wanted}
	if e.Address.IsValid() && a.subnet.Network.Contains(e.Address) {
		q.reserved = e.Address
	}
	if a.kind == kindSelect && a.identity != c.cfg.Addr && a.wanted != q.reserved && !c.cfg.Share.owns(a.wanted) {
		return c.leases.other(q, true, now) // the relay agent stands for all servers: this is the offer of another one
	}
	switch a.kind {
	case kindDiscover:
		return c.leases.offer(q, now)
	case kindSelect:
		return c.leases.take(q, now)
	case kindOther:
		farm := c.ours(a.server)
		if !farm {
			c.rogue(now, a.server, fmt.Sprintf("%s takes an address from it", a.MAC))
		}
		return c.leases.other(q, farm, now)
	case kindReboot:
		return c.leases.reboot(q, now)
	case kindRenew:
		return c.leases.renew(q, now)
	case kindRelease:
		return c.leases.release(a.MAC, a.wanted, now)
	default:
		return c.leases.decline(a.MAC, a.wanted, now)
	}
}

// finish sends the reply, at once or when ARP has kept silent about the address.
func (c *core) finish(now time.Time, a ask, e bootsvc.Entry, ans answer, tries int) {
	if ans.verdict == verdictGive && ans.probe && a.onLink() {
		switch {
		case c.ahead.silent(ans.addr, now):
			c.questions = append(c.questions, ans.addr) // once more: the answer may come before the machine takes the offer
		case len(c.pending) < maxPending:
			c.wait(pending{a, e, ans, now.Add(arpWait), tries})
			return
		}
	}
	d := c.cfg.decide(a, e, ans)
	if d.reply != nil {
		c.out = append(c.out, outgoing{d.reply.ToBytes(), d.to, a.kind == kindBoot})
	}
	if c.cfg.Mode == ModeProxy && !a.boots() {
		return // the traffic of the other DHCP server
	}
	verb := ""
	if d.reply == nil {
		verb = "no answer: "
	}
	text := fmt.Sprintf("%s %s: %s%s", c.about(a), asks[a.kind], verb, d.reason)
	c.tell(now, bootsvc.Event{MAC: a.MAC, Text: text, Problem: d.problem, Firmware: a.boots()})
}

// wait holds an offer back while ARP is asked about its address.
func (c *core) wait(p pending) {
	c.pending = append(c.pending, p)
	w := c.asked[p.answer.addr]
	if w == nil {
		w = &claims{}
		c.asked[p.answer.addr] = w
		c.questions = append(c.questions, p.answer.addr)
	}
	w.waiting++
}

var asks = map[kind]string{
	kindDiscover: "asks for an address", kindSelect: "takes an address", kindOther: "takes an address", kindReboot: "comes back with its address",
	kindRenew: "renews its address", kindInform: "asks for settings", kindRelease: "releases its address", kindDecline: "declines its address",
	kindBoot: "asks for its boot file",
}

// onLink tells whether ARP from here reaches the machine's network.
func (a *ask) onLink() bool { return !a.relay.IsValid() }

func (c *core) about(a ask) string {
	if a.packet == nil { // it could not be read
		return a.MAC.String()
	}
	if a.relay.IsValid() {
		return fmt.Sprintf("%s, %s, behind relay agent %s", a.MAC, a.asker, a.relay)
	}
	return fmt.Sprintf("%s, %s,", a.MAC, a.asker)
}

// heard takes what an ARP packet says. It counts for an address that was asked for ahead, and for one that is on offer, whenever it comes: the
// machine that wants the latter is refused, and asks anew.
func (c *core) heard(now time.Time, claim link.Claim) {
	user := bootsvc.MAC(claim.MAC)
	if w := c.asked[claim.Addr]; w != nil {
		if len(w.by) < 4 {
			w.by = append(w.by, user)
		}
		return
	}
	if c.ahead.subnet == nil || !c.ahead.subnet.Network.Contains(claim.Addr) {
		return
	}
	if o := c.leases.byAddr[claim.Addr]; o != nil && o.State == stateOffered && o.live(now) {
		if mac := o.MAC; mac != user {
			c.note(now, mac, true, "%s", c.leases.conflict(claim.Addr, user, now))
		}
		return
	}
	if c.ahead.index(claim.Addr) >= 0 && c.leases.vacant(c.ahead.subnet, claim.Addr, now) {
		c.ahead.claimed++
		c.note(now, bootsvc.MAC{}, true, "%s", c.leases.conflict(claim.Addr, user, now))
	}
}

// tick sends the offers whose address nobody has claimed, asks ahead, and gives the next deadline; the zero time when there is none.
func (c *core) tick(now time.Time) time.Time {
	for len(c.pending) > 0 && !now.Before(c.pending[0].deadline) {
		p := c.pending[0]
		c.pending = c.pending[1:]
		w := c.asked[p.answer.addr]
		if w.waiting--; w.waiting == 0 {
			delete(c.asked, p.answer.addr)
		}
		user, used := w.stranger(p.ask.MAC)
		if !used {
			p.answer.probe = false
			c.finish(now, p.ask, p.entry, p.answer, p.tries)
			continue
		}
		c.note(now, p.ask.MAC, true, "%s", c.leases.conflict(p.answer.addr, user, now))
		if p.tries+1 < arpTries {
			c.finish(now, p.ask, p.entry, c.lookUp(now, p.ask, p.entry), p.tries+1)
		}
	}
	questions, next := c.ahead.step(now)
	c.questions = append(c.questions, questions...)
	if len(c.pending) == 0 {
		c.pending = nil
		return next
	}
	if first := c.pending[0].deadline; next.IsZero() || first.Before(next) {
		return first
	}
	return next
}

// stranger gives who else than mac claims the address.
func (w *claims) stranger(mac bootsvc.MAC) (bootsvc.MAC, bool) {
	for _, m := range w.by {
		if m != mac {
			return m, true
		}
	}
	return bootsvc.MAC{}, false
}

// ours tells whether an address is a server of this farm.
func (c *core) ours(a netip.Addr) bool {
	if a == c.cfg.Addr {
		return true
	}
	for _, s := range c.dir.Farm().Servers {
		if s.Addr == a {
			return true
		}
	}
	return false
}

// overheard takes a reply of some server that was sent to everybody.
func (c *core) overheard(now time.Time, b []byte) {
	p, err := dhcpv4.FromBytes(b)
	if err != nil || p.OpCode != dhcpv4.OpcodeBootReply {
		return
	}
	server := ip(p.ServerIdentifier())
	if !server.IsValid() || c.ours(server) {
		return
	}
	address := ip(p.YourIPAddr)
	file := cut(p.BootFileName+p.BootFileNameOption(), 64)
	switch {
	case c.cfg.Mode == ModeServer && address.IsValid():
		c.rogue(now, server, fmt.Sprintf("it gives %s to %s", address, cut(p.ClientHWAddr.String(), 48)))
	case file != "":
		c.rogue(now, server, fmt.Sprintf("it gives boot file %q to %s", file, cut(p.ClientHWAddr.String(), 48)))
	}
}

// rogue tells of a server that is none of this farm: once, until it has been gone for long.
func (c *core) rogue(now time.Time, server netip.Addr, what string) {
	last, known := c.rogues[server]
	if !known && len(c.rogues) >= maxRogues {
		return
	}
	c.rogues[server] = now
	if known && now.Sub(last) < rogueAgain {
		return
	}
	c.note(now, bootsvc.MAC{}, true, "another DHCP server, %s, answers on this network: %s; spated pxe-check --interface %s shows which of both wins", server, what, c.cfg.Interface)
}

// note tells the farm of something else than an answer.
func (c *core) note(now time.Time, mac bootsvc.MAC, problem bool, format string, args ...any) {
	c.tell(now, bootsvc.Event{MAC: mac, Text: fmt.Sprintf(format, args...), Problem: problem})
}

// tell tells the farm, unless it was told the same of this machine a moment ago.
func (c *core) tell(now time.Time, e bootsvc.Event) {
	if last, ok := c.noted[e.MAC]; ok && last.text == e.Text && now.Sub(last.at) < noteAgain {
		return
	}
	if len(c.noted) >= maxNoted {
		clear(c.noted) // at worst something is told twice
	}
	c.noted[e.MAC] = note{e.Text, now}
	e.Service = "dhcp"
	c.dir.Note(e)
}

// limiter bounds the packets that are looked at, second by second.
type limiter struct {
	second time.Time
	count  map[bootsvc.MAC]int
	full   bool // and it was told
}

// allow counts a packet. For the first one too many of a second it says why, and of which machine that is to be told; of none where it
// concerns all.
func (l *limiter) allow(now time.Time, mac bootsvc.MAC) (whose bootsvc.MAC, why string, ok bool) {
	if l.count == nil || now.Sub(l.second) >= time.Second || now.Before(l.second) {
		*l = limiter{second: now, count: map[bootsvc.MAC]int{}}
	}
	n, known := l.count[mac]
	switch {
	case known || len(l.count) < maxMACs:
		l.count[mac] = n + 1
		if n == perMAC {
			return mac, fmt.Sprintf("%s sends more than %d packets a second", mac, perMAC), false
		}
		return mac, "", n < perMAC
	case l.full:
		return whose, "", false
	default:
		l.full = true
		return whose, fmt.Sprintf("more than %d machines ask in one second, or somebody who invents MAC addresses", maxMACs), false
	}
}
