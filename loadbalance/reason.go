package loadbalance

import (
	"fmt"
	"time"
)

// refusal says in words why a server is not eligible, and whether that is for the number of its targets alone;
// it is empty when the server is eligible.
func (p Policy) refusal(t Target, s Server) (why string, full bool) {
	switch why := s.absence(); {
	case why != "":
		return "not eligible: " + why, false
	case !p.allowed(s):
		return "not eligible: the collection does not allow this server", false
	}
	if why := s.Replica.refusal(p.vdisk()); why != "" {
		return "not eligible: " + why, false
	}
	if p.Affinity == AffinityRequire && !p.near(t, s) {
		return "not eligible: " + p.elsewhere(s) + ", and the policy requires " + p.nearness(), false
	}
	if s.full() && !t.Reconnect && s.Name != t.Current {
		return fmt.Sprintf("not eligible: full, %d of %d targets", s.Sessions+s.Assigned, s.Limit), true
	}
	return "", false
}

// absence says why a server's stream service takes nobody; empty when it does.
func (s Server) absence() string {
	switch s.State {
	case Serving:
		return ""
	case Leaving:
		return "it is going away and takes no log-ins"
	case Stopped:
		return "stream service stopped"
	case Silent:
		if s.Heard > 0 {
			return "not alive, last heard " + ago(s.Heard)
		}
		return "not alive"
	default:
		return "never heard of since this server started"
	}
}

func (p Policy) vdisk() string {
	if p.VDisk == "" {
		return "the vDisk"
	}
	return p.VDisk
}

func (r Replica) refusal(vdisk string) string {
	switch r {
	case Identical:
		return ""
	case OtherTimestamp:
		return "its replica of " + vdisk + " has the same content but another timestamp; adopt it there"
	case StoredDifferently:
		return "its replica of " + vdisk + " is the same disk stored differently; adopt it there"
	case OtherContent:
		return "its replica of " + vdisk + " has other content"
	case Damaged:
		return "its replica of " + vdisk + " is damaged"
	default:
		return "no replica of " + vdisk
	}
}

func (p Policy) nearness() string {
	if p.By == SameSubnet {
		return "the same subnet"
	}
	return "the same zone"
}

// elsewhere says where a server is that is not near.
func (p Policy) elsewhere(s Server) string {
	switch {
	case p.By == SameSubnet:
		return "the target is in none of its subnets"
	case s.Zone == "":
		return "it is in no zone"
	default:
		return "it is in zone " + s.Zone
	}
}

// chosen says why the first of the ranked servers is the first.
func (p Policy) chosen(t Target, ranked []candidate, how manner) string {
	s := ranked[0]
	carries := s.carries()
	switch how {
	case byStickiness:
		return "chosen: it serves the target already and is not much busier than others (" + carries + ")"
	case byLoad, byDraw:
		group := 1
		for group < len(ranked) && ranked[group].class == s.class {
			group++
		}
		if how == byLoad {
			return fmt.Sprintf("chosen: least busy of %d %s (%s)", group, p.group(s), carries)
		}
		return fmt.Sprintf("chosen: drawn by the device's hash among the least busy of %d %s (%s)", group, p.group(s), carries)
	}
	if len(ranked) == 1 {
		return "chosen: the only eligible server (" + carries + ")"
	}
	return "chosen: " + p.advantage(t, s, ranked[1]) + " (" + carries + ")"
}

// group names the class that several servers share.
func (p Policy) group(c candidate) string {
	where := fmt.Sprintf("in tier %d", c.Tier)
	switch c.Tag {
	case Primary:
		where = "with a primary replica"
	case Secondary:
		where = "with a secondary replica"
	case Untagged:
	}
	if p.Affinity != AffinityNone && c.class.far == 0 {
		where += " and " + p.nearness()
	}
	return where
}

// advantage says what puts server a, alone in its class, before b.
func (p Policy) advantage(t Target, a, b candidate) string {
	switch {
	case a.class.avoided != b.class.avoided:
		return "the only one that the target did not find silent"
	case a.class.held != b.class.held && a.Name == t.Current:
		return "it serves the target already"
	case a.class.held != b.class.held:
		return "the only one that did not just come back"
	case a.Tag == Primary:
		return "the only primary replica"
	case a.class.tag != b.class.tag:
		return "the only replica that is not secondary"
	case a.class.tier != b.class.tier:
		return fmt.Sprintf("the only one in tier %d", a.Tier)
	default:
		return "the only one in " + p.nearness()
	}
}

// passedOver says why an eligible server is only an alternate of the chosen one.
func (p Policy) passedOver(chosen, s candidate, rank int, how manner) string {
	alternate := fmt.Sprintf("alternate %d: ", rank)
	switch c, best := s.class, chosen.class; {
	case c.avoided != best.avoided:
		return alternate + "the target found it silent"
	case c.held != best.held:
		return alternate + "came back " + ago(s.Returned) + ", is preferred again after " + p.Hold.String()
	case c.tag != best.tag && s.Tag == Secondary:
		return alternate + "its replica is secondary"
	case c.tag != best.tag:
		return alternate + "a primary replica is available"
	case c.tier != best.tier:
		return alternate + fmt.Sprintf("tier %d, and tier %d is available", s.Tier, chosen.Tier)
	case c.far != best.far:
		return alternate + p.elsewhere(s.Server) + ", and " + p.nearness() + " is preferred"
	case how == byStickiness:
		return alternate + "the target stays where it is (" + s.carries() + ")"
	case s.load > chosen.load:
		return alternate + "busier (" + s.carries() + ")"
	default:
		return alternate + "as little busy, and the device's hash drew the other (" + s.carries() + ")"
	}
}

// carries says what a server carries, and how that adds up to its load.
func (c candidate) carries() string {
	words := fmt.Sprintf("load %.1f: %d targets", c.load, c.Sessions)
	if c.Sessions == 1 {
		words = fmt.Sprintf("load %.1f: 1 target", c.load)
	}
	if c.Assigned > 0 {
		words += fmt.Sprintf(" and %d since its report", c.Assigned)
	}
	if c.QueueDelay >= targetDelay/10 {
		words += ", queue " + c.QueueDelay.Round(100*time.Microsecond).String()
	}
	if c.EgressBytes >= targetEgressBytes/10 {
		words += fmt.Sprintf(", %.0f MB/s", c.EgressBytes/1e6)
	}
	if c.power() != 1 {
		words += fmt.Sprintf(", power %g", c.power())
	}
	return words
}

// ago says how long something is past, in the one unit that matters.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", max(1, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	default:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
}
