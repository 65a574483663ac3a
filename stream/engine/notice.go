package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// driveRepairs finds servers for reads that the serving server cannot answer.
func (c *Client) driveRepairs(now Instant) {
	if len(c.deferred) == 0 || now < c.repairAt {
		return
	}
	c.repairAt = now.Add(repairAgain)
	for _, f := range slices.Clone(c.deferred) {
		switch {
		case f.gone && c.cfg.FailAfter > 0 && now.Sub(f.born) >= c.cfg.FailAfter:
			c.finish(now, f, ErrNoServer)
			continue
		case f.gone && f.retry == 0:
			f.retry = now.Add(goneAgain)
		case f.gone && now >= f.retry: // the store may be back
			f.avoid, f.gone, f.retry, f.started = f.avoid[:0], false, 0, now
			c.unqueue(f)
			c.place(f)
			continue
		}
		if !c.hope(now, f) && !f.gone {
			c.event(now, Event{Kind: EventNoGoodCopy, Code: wire.CodeDamaged, Level: f.Level, Index: f.First, Text: c.namesOf(f.avoid)})
			c.finish(now, f, ErrNoGoodCopy)
		}
	}
}

// hope tells whether some server may still bring a fetch, and asks one.
func (c *Client) hope(now Instant, f *Fetch) bool {
	for _, s := range c.servers {
		switch {
		case f.avoids(s):
		case c.attemptTo(s) != nil || c.countAttempts(true) >= repairsMax:
			return true
		case s.tried < f.started || now.Sub(s.tried) > repairEach && now.Sub(f.started) < repairGiveUp:
			c.attempt(now, s, ReasonRepair, 0, c.ticketFor(now, s, ReasonRepair))
			return true
		}
	}
	return now.Sub(f.started) < repairGiveUp && slices.ContainsFunc(c.servers, func(s *server) bool { return !f.avoids(s) })
}

// driveNotices tells a person, when no server answers, who was asked and what
// may be wrong; and fails reads when that was wanted.
func (c *Client) driveNotices(now Instant) {
	switch {
	case !c.pauseNow.active:
	case c.demands == 0:
		c.tellMove(0)
	case now >= c.pauseNow.from.Add(pauseSettles):
		c.tellMove(now.Sub(c.progress))
	}
	if c.lostAt == Never {
		return
	}
	if now >= c.notice {
		c.notice = now.Add(noticeAgain)
		c.event(now, Event{Kind: EventWaiting, Text: c.waitingText(now)})
	}
	if c.cfg.FailAfter > 0 && now.Sub(c.lostAt) >= c.cfg.FailAfter {
		for _, f := range c.fetches {
			if f != nil {
				c.finish(now, f, ErrNoServer)
			}
		}
	}
}

// waitingText says who was asked, what came of it and what may be wrong.
func (c *Client) waitingText(now Instant) string {
	var asked []string
	silent := false
	for _, s := range c.servers {
		if !s.asked {
			continue
		}
		who, note := s.addr.String(), s.note
		if s.name != "" {
			who = fmt.Sprintf("%s (%s)", s.name, s.addr)
		}
		if note == "" || note == noteSilent {
			note, silent = noteSilent, true
		}
		asked = append(asked, who+": "+note)
	}
	text := fmt.Sprintf("no server serves this target since %s; asked %s", now.Sub(c.lostAt).Round(time.Second), strings.Join(asked, ", "))
	if silent {
		text += "; the servers may be down, their UDP port may be blocked, or the farm key is not theirs"
	}
	return text
}

// What came of asking a server that did not answer, and of one whose answer is
// sealed with something else than we have. The latter is a guess from an unproven
// datagram, and for a person only.
const (
	noteSilent = "no answer"
	noteSealed = "its answer cannot be opened; the pre-shared key (--psk-file) may not be the one of this target's collection"
)

// namesOf lists servers for people.
func (c *Client) namesOf(ids []ServerID) string {
	var names []string
	for _, id := range ids {
		names = append(names, c.nameOf(id))
	}
	return strings.Join(names, ", ")
}
