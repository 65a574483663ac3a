package ndp

import (
	"net/netip"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

// router is the last one that was heard; the zero value when none was.
type router struct {
	addr   netip.Addr
	at     time.Time
	routes bool // it does, and does not only configure
}

// hear takes an advertisement. The empty ones, as other servers of the farm send them, are none of a router; but the farewell of the one
// that is known is (RFC 4861 section 6.2.5).
func (r router) hear(a message, now time.Time) router {
	switch {
	case a.lifetime > 0:
		return router{a.src, now, true}
	case r.routes && a.src == r.addr:
		return router{}
	case a.configures:
		return router{a.src, now, false}
	}
	return r
}

// decide says whether a solicitation is answered, and why or why not. m is what is known of the sender, zero when nothing is.
func decide(q message, m machine, r router, now time.Time) (answer bool, reason string) {
	switch {
	case m.asked.IsZero() || now.Sub(m.asked) > window:
		return false, "it has not asked the boot services within the last minute"
	case !r.at.IsZero() && now.Sub(r.at) <= routerCounts:
		return false, "a router is there, which answers it"
	case q.dst != allRouters:
		return false, "it asks one router, not all"
	case !q.src.IsLinkLocalUnicast():
		return false, "it has no link-local address"
	case q.card != (bootsvc.MAC{}) && q.card != q.from:
		return false, "it asks for another card"
	case !m.answered.IsZero() && now.Sub(m.answered) < answerAgain:
		return false, "it was answered a moment ago"
	}
	return true, "it boots and would wait for a router"
}
