package farm

import (
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
)

var _ stream.Admitter = (*Farm)(nil)

// retryAfterMS is when a target asks again after being told that nobody can serve it now.
const retryAfterMS = 2000

// listenFirst is how long a server that has just started waits to hear of the others before it decides which
// version a plain name stands for: alone it would offer one that the others lack. Targets that use a version
// already do not wait.
const listenFirst = reportEvery * 3 / 2

// unheard tells whether a server of the farm file was not heard of yet.
func (v view) unheard() bool {
	if v.config.Open {
		return false
	}
	return slices.ContainsFunc(v.config.Servers, func(s Server) bool {
		p, _ := v.peer(s.Name)
		return p.heard < 0
	})
}

// Admit decides about a log-in or a resumption from what is in memory. The message may be a replay, so it
// changes nothing but a hint: that the device is on its way to the chosen server, once however often it asks.
func (f *Farm) Admit(w stream.Who) stream.Decision {
	now := time.Now()
	r := f.rules.Load()
	v := view{r.config, f.o.Name, f.peers.peers()}
	a := askOf(w)
	o := v.decide(a)
	if o.result == wire.ResultAccept && a.content == nil && now.Sub(f.born) < listenFirst && v.unheard() {
		o = o.refuse(wire.ResultBusy, wire.CodeStarting, "Server %s has just started and does not know yet what the others hold; it will be asked again.", f.o.Name)
	}
	d := stream.Decision{Result: o.result, Code: o.code, Sentence: o.sentence, PSK: r.psk[o.collection.Name]}
	if o.result == wire.ResultAccept && !o.known && !r.config.Open && !a.resume && !f.welcome(now, o.device.MAC) {
		o = o.refuse(wire.ResultBusy, wire.CodeTooMany, "Too many unknown devices have logged in during this minute; this one will be asked again.")
		d.Result, d.Code, d.Sentence = o.result, o.code, o.sentence
	}
	if o.result != wire.ResultAccept {
		if o.result == wire.ResultBusy {
			d.RetryAfterMS = retryAfterMS
		}
		f.log.Debug("log-in refused", zap.String(logging.KeyDevice, o.device.Name), zap.Stringer(logging.KeyCode, o.code),
			zap.String(logging.KeyReason, o.sentence))
		return d
	}
	d.Disk = o.version.wireDisk()
	chosen := o.choice.Ranked[0]
	if (a.reconnect || a.resume) && slices.Contains(o.choice.Ranked, f.o.Name) {
		chosen = f.o.Name // served first, balanced later
	}
	if chosen == f.o.Name {
		image, ok := f.library.image(o.version.Content)
		if !ok {
			d.Result, d.Code, d.RetryAfterMS = wire.ResultBusy, wire.CodeStarting, retryAfterMS
			return d
		}
		d.Image, d.Disk = image, image.disk
	} else {
		d.Result, d.Refer = wire.ResultRefer, v.referrals(o.choice)
	}
	f.peers.assign(chosen, o.device.MAC.String())
	return d
}

func askOf(w stream.Who) ask {
	a := ask{mac: w.MAC, key: DeviceKey(w.Key), addr: w.Addr.Addr(), resume: w.Resume, avoid: w.Login.Avoid}
	if w.Resume {
		a.content = &Content{w.Content.Root, w.Content.Timestamp}
		return a
	}
	a.vdisk = Wanted{Name: w.Login.VDisk, Number: w.Login.Number, Fixed: w.Login.Number != wire.NewestVersion}
	if a.vdisk.Name == "" {
		a.vdisk = Wanted{}
	}
	if w.Login.HasContent {
		a.content = &Content{w.Login.Content.Root, w.Login.Content.Timestamp}
	}
	a.reconnect = w.Login.Flags&wire.LoginReconnect != 0
	return a
}

// referrals are the servers that a target is sent to, the chosen one first.
func (v view) referrals(c loadbalance.Choice) []wire.Referral {
	var all []wire.Referral
	for _, name := range c.Ranked {
		p, _ := v.peer(name)
		if len(all) < wire.MaxReferrals && p.meta.Stream.IsValid() {
			all = append(all, wire.Referral{Name: name, ID: p.meta.ID, Addr: p.meta.Stream})
		}
	}
	return all
}

// Alternates ranks the other servers for a target that is served here: the eligible ones, then the others with
// what is wrong with them.
func (f *Farm) Alternates(w stream.Who, c wire.Content) wire.Alternates {
	v := f.view()
	a := askOf(w)
	a.content, a.resume, a.current = &Content{c.Root, c.Timestamp}, true, f.o.Name
	o := v.decide(a)
	var list wire.Alternates
	for _, x := range o.choice.Verdicts {
		p, known := v.peer(x.Server)
		if x.Server == f.o.Name || !known || !p.meta.Stream.IsValid() || len(list.List) == wire.MaxAlternates {
			continue
		}
		s := v.server(x.Server)
		list.List = append(list.List, wire.Alternate{
			Name: x.Server, ID: p.meta.ID, Addr: p.meta.Stream, State: v.alternateState(p, x),
			Load: shownLoad(s, p), SameZone: s.Zone == v.zoneOf(o),
		})
	}
	if len(o.choice.Ranked) < 2 {
		list.Note = "No other server can serve this target now."
	}
	return list
}

func (v view) server(name string) Server {
	for _, s := range v.servers() {
		if s.Name == name {
			return s
		}
	}
	return Server{Name: name}
}

func (v view) zoneOf(o outcome) string {
	if o.device.Zone != "" {
		return o.device.Zone
	}
	return o.collection.Zone
}

func (v view) alternateState(p peer, x loadbalance.Verdict) wire.ServerState {
	switch state := v.state(p); {
	case x.Rank >= 0:
		return wire.StateServing
	case state == loadbalance.Leaving:
		return wire.StateGoingAway
	case state == loadbalance.Stopped:
		return wire.StateStopped
	case state != loadbalance.Serving:
		return wire.StateUnreachable
	case x.Full:
		return wire.StateFull
	default:
		return wire.StateNoReplica
	}
}

// fullLoad is the number of targets on a server of power 1 and without a limit that is shown as load 1.
const fullLoad = 100

// shownLoad is a server's load for people, in 1/1000: 1000 is as many targets as it may have.
func shownLoad(s Server, p peer) uint16 {
	load := float64(p.report.Sessions+p.assigned) / (fullLoad * max(s.Power, 0.01))
	if s.Limit > 0 {
		load = float64(p.report.Sessions+p.assigned) / float64(s.Limit)
	}
	return uint16(min(load*1000, 65535))
}

// Confirmed notes that a target has proven itself.
func (f *Farm) Confirmed(s *stream.Session) {
	c := Content{s.Disk.Content.Root, s.Disk.Content.Timestamp}
	f.library.use(c, 1)
	config := f.Config()
	known := config.Device(s.Who.MAC) != nil
	if !known && !config.Open && !s.Who.Resume {
		f.mu.Lock()
		f.strangers.add(time.Now(), s.Who.MAC)
		f.mu.Unlock()
	}
	f.log.Info("target logged in", zap.Stringer(logging.KeyDevice, MAC(s.Who.MAC)), zap.Bool("known", known),
		zap.Stringer(logging.KeyAddr, s.Who.Addr), zap.String(logging.KeyVDisk, s.Disk.Name),
		zap.Uint32(logging.KeyVersion, s.Disk.Number), zap.Bool("resumed", s.Who.Resume))
}

// Ended notes that a session of a confirmed target is over.
func (f *Farm) Ended(s *stream.Session) {
	f.library.use(Content{s.Disk.Content.Root, s.Disk.Content.Timestamp}, -1)
	f.log.Info("target is gone", zap.Stringer(logging.KeyDevice, MAC(s.Who.MAC)), zap.Stringer(logging.KeyAddr, s.Who.Addr))
}

// welcome tells whether an unknown device may log in now.
func (f *Farm) welcome(now time.Time, m MAC) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.strangers.welcome(now, m)
}

// strangers bounds how many unknown devices are let in within a minute, so that somebody who makes up MAC
// addresses cannot fill the farm. Those that were let in come back freely.
type strangers struct {
	seen   map[MAC]time.Time
	recent []time.Time // of newcomers, within the last minute
}

const (
	maxNewcomers = 100 // unknown devices within a minute
	maxStrangers = 100_000
)

func (s *strangers) welcome(now time.Time, m MAC) bool {
	if _, ok := s.seen[m]; ok {
		return true
	}
	s.recent = slices.DeleteFunc(s.recent, func(at time.Time) bool { return now.Sub(at) >= time.Minute })
	return len(s.recent) < maxNewcomers && len(s.seen) < maxStrangers
}

func (s *strangers) add(now time.Time, m MAC) {
	if s.seen == nil {
		s.seen = map[MAC]time.Time{}
	}
	if _, ok := s.seen[m]; !ok {
		s.recent = append(s.recent, now)
	}
	s.seen[m] = now
}
