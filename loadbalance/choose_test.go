package loadbalance

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func good(name string, sessions int) Server {
	return Server{Name: name, Zone: "north", Tier: 1, State: Serving, Replica: Identical, Sessions: sessions}
}

// with returns a copy of the server after change.
func with(s Server, change func(*Server)) Server {
	change(&s)
	return s
}

// scenarios are the situations whose words stand in testdata/explain.golden.
var scenarios = []struct {
	name    string
	policy  Policy
	target  Target
	servers []Server
}{
	{"no server at all", Policy{}, Target{}, nil},
	{"one server", Policy{}, Target{}, []Server{good("lab-a", 3)}},
	{"the least busy", Policy{}, Target{}, []Server{good("lab-a", 30), good("lab-b", 10), good("lab-c", 20)}},
	{"equally busy: drawn", Policy{}, Target{}, []Server{good("lab-a", 10), good("lab-b", 10), good("lab-c", 10)}},
	{"what a server carries", Policy{}, Target{}, []Server{
		with(good("lab-a", 10), func(s *Server) { s.QueueDelay = 12 * time.Millisecond }),
		with(good("lab-b", 1), func(s *Server) { s.Assigned = 14; s.EgressBytes = 80e6; s.Power = 2 }),
	}},
	{"nobody is eligible", Policy{VDisk: "debian12 @ 3", Allowed: []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "k", "l"}}, Target{}, []Server{
		{Name: "a"},
		with(good("b", 0), func(s *Server) { s.State = Silent; s.Heard = 12 * time.Second }),
		with(good("c", 0), func(s *Server) { s.State = Stopped }),
		with(good("d", 0), func(s *Server) { s.State = Leaving }),
		with(good("e", 0), func(s *Server) { s.Replica = Missing }),
		with(good("f", 0), func(s *Server) { s.Replica = OtherTimestamp }),
		with(good("g", 0), func(s *Server) { s.Replica = StoredDifferently }),
		with(good("h", 0), func(s *Server) { s.Replica = OtherContent }),
		with(good("i", 0), func(s *Server) { s.Replica = Damaged }),
		good("j", 0),
		with(good("k", 50), func(s *Server) { s.Limit = 60; s.Assigned = 10 }),
		with(good("l", 0), func(s *Server) { s.State = Silent }),
	}},
	{"a full server takes a reconnect", Policy{}, Target{Reconnect: true}, []Server{
		with(good("lab-a", 60), func(s *Server) { s.Limit = 60 }),
	}},
	{"tags override tiers", Policy{}, Target{}, []Server{
		good("lab-a", 0),
		with(good("lab-b", 90), func(s *Server) { s.Tier = 3; s.Tag = Primary }),
		with(good("lab-c", 0), func(s *Server) { s.Tag = Secondary }),
	}},
	{"a secondary replica is the last resort", Policy{}, Target{}, []Server{
		with(good("lab-a", 90), func(s *Server) { s.Tier = 3 }),
		with(good("lab-c", 0), func(s *Server) { s.Tag = Secondary }),
	}},
	{"balance inside a tier", Policy{}, Target{}, []Server{
		good("lab-a", 90), good("lab-b", 70), with(good("lab-c", 0), func(s *Server) { s.Tier = 2 }),
	}},
	{"a zone is preferred", Policy{Affinity: AffinityPrefer}, Target{Zone: "north"}, []Server{
		good("lab-a", 90), with(good("lab-b", 0), func(s *Server) { s.Zone = "south" }), with(good("lab-c", 0), func(s *Server) { s.Zone = "" }),
	}},
	{"a subnet is required", Policy{Affinity: AffinityRequire, By: SameSubnet}, Target{Addr: netip.MustParseAddr("::ffff:192.0.2.7")}, []Server{
		with(good("lab-a", 90), func(s *Server) { s.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }),
		with(good("lab-b", 95), func(s *Server) { s.Subnets = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/25")} }),
		with(good("lab-c", 0), func(s *Server) { s.Subnets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }),
	}},
	{"a target stays where it is", Policy{}, Target{Current: "lab-a"}, []Server{good("lab-a", 14), good("lab-b", 8)}},
	{"a target leaves a server that is much busier", Policy{}, Target{Current: "lab-a"}, []Server{good("lab-a", 40), good("lab-b", 8)}},
	{"a server that came back waits", Policy{Hold: 30 * time.Second}, Target{}, []Server{
		good("lab-a", 40), with(good("lab-b", 0), func(s *Server) { s.Returned = 4 * time.Second }),
	}},
	{"a server that came back is taken when there is no other", Policy{Hold: 30 * time.Second}, Target{}, []Server{
		with(good("lab-b", 0), func(s *Server) { s.Returned = 4 * time.Second }),
	}},
	{"the target found a server silent", Policy{}, Target{Avoid: []string{"lab-b"}}, []Server{good("lab-a", 40), good("lab-b", 0)}},
}

// The words of explain are part of the program: an administrator reads them, and a change shows here.
func TestReasonsAreTheGoldenOnes(t *testing.T) {
	var b strings.Builder
	for _, s := range scenarios {
		s.target.ID = "02:00:00:00:00:07"
		fmt.Fprintf(&b, "# %s\n", s.name)
		for _, v := range Choose(s.policy, s.target, s.servers).Verdicts {
			fmt.Fprintf(&b, "%-6s %s\n", v.Server, v.Reason)
		}
		b.WriteByte('\n')
	}
	path := filepath.Join("testdata", "explain.golden")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// anyone makes a world from a seed: servers in every state, a target, a policy.
func anyone(seed uint64) (Policy, Target, []Server) {
	r := rand.New(rand.NewPCG(seed, 1))
	zones := []string{"", "north", "south"}
	p := Policy{Affinity: Affinity(r.IntN(3)), By: Nearness(r.IntN(2)), Hold: time.Duration(r.IntN(60)) * time.Second}
	target := Target{
		ID: fmt.Sprint("device", r.IntN(1000)), Zone: zones[r.IntN(3)], Reconnect: r.IntN(2) == 0,
		Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(256))}),
	}
	servers := make([]Server, r.IntN(9))
	for i := range servers {
		servers[i] = Server{
			Name: fmt.Sprint("server", i), Zone: zones[r.IntN(3)], Tier: 1 + r.IntN(3), State: Serving, Replica: Identical,
			Subnets: []netip.Prefix{netip.PrefixFrom(target.Addr, 32-r.IntN(9)).Masked(), netip.MustParsePrefix("198.51.100.0/24")}[r.IntN(2):],
			Power:   []float64{0, 1, 2, 0.5, -3}[r.IntN(5)], Limit: r.IntN(3) * 50, Sessions: r.IntN(60), Assigned: r.IntN(5),
			QueueDelay: time.Duration(r.IntN(5000)) * time.Microsecond, EgressBytes: float64(r.IntN(100)) * 1e6,
		}
		s := &servers[i]
		if r.IntN(4) == 0 {
			s.State = State(r.IntN(6))
		}
		if r.IntN(4) == 0 {
			s.Replica = Replica(r.IntN(7))
		}
		if r.IntN(4) == 0 {
			s.Tag = Tag(r.IntN(3))
		}
		if r.IntN(4) == 0 {
			s.Returned = time.Duration(r.IntN(90)) * time.Second
		}
		if r.IntN(6) == 0 {
			target.Current = s.Name
		}
		if r.IntN(6) == 0 {
			target.Avoid = append(target.Avoid, s.Name)
		}
		if r.IntN(2) == 0 {
			p.Allowed = append(p.Allowed, s.Name)
		}
	}
	return p, target, servers
}

func TestChoiceIsSoundInAnyWorld(t *testing.T) {
	for seed := range uint64(20_000) {
		p, target, servers := anyone(seed)
		c := Choose(p, target, servers)
		if len(c.Verdicts) != len(servers) {
			t.Fatalf("seed %d: %d verdicts for %d servers", seed, len(c.Verdicts), len(servers))
		}
		byName := map[string]Server{}
		for _, s := range servers {
			byName[s.Name] = s
		}
		for i, v := range c.Verdicts {
			s := byName[v.Server]
			delete(byName, v.Server) // each once
			eligible := s.State == Serving && s.Replica == Identical &&
				(p.Allowed == nil || slices.Contains(p.Allowed, s.Name)) &&
				(p.Affinity != AffinityRequire || v.Near) &&
				(s.Limit == 0 || s.Sessions+s.Assigned < s.Limit || target.Reconnect || s.Name == target.Current)
			switch {
			case v.Reason == "":
				t.Fatalf("seed %d: no reason for %s", seed, v.Server)
			case eligible != (v.Rank >= 0):
				t.Fatalf("seed %d: %s eligible %v, but: %s", seed, v.Server, eligible, v.Reason)
			case v.Rank >= 0 && (v.Rank != i || c.Ranked[i] != v.Server):
				t.Fatalf("seed %d: %s has rank %d at place %d of %v", seed, v.Server, v.Rank, i, c.Ranked)
			}
		}
		shuffled := slices.Clone(servers)
		rand.New(rand.NewPCG(seed, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if again := Choose(p, target, shuffled); !slices.Equal(again.Verdicts, c.Verdicts) {
			t.Fatalf("seed %d: the order of the arguments matters: %v, then %v", seed, c.Verdicts, again.Verdicts)
		}
	}
}

// Reports come once a second; what is assigned in between must spread as if each server reported at once.
func TestBurstBetweenTwoReportsSpreadsByPower(t *testing.T) {
	const logins = 1000
	servers := []Server{good("a", 0), good("b", 0), good("c", 0), good("d", 0)}
	total := 0.0
	for i, power := range []float64{1, 1, 2, 4} {
		servers[i].Power = power
		total += power
	}
	for i := range logins {
		name, _ := Choose(Policy{}, Target{ID: fmt.Sprint("device", i)}, servers).Server()
		servers[slices.IndexFunc(servers, func(s Server) bool { return s.Name == name })].Assigned++
	}
	for _, s := range servers {
		if share := logins * s.Power / total; math.Abs(float64(s.Assigned)-share) > 0.1*share {
			t.Errorf("%s with power %g got %d targets, its share is %.0f", s.Name, s.Power, s.Assigned, share)
		}
	}
}

// Two servers that answer log-ins at the same time see only their own assignments until the next report.
func TestChoosersThatCannotSeeOneAnotherDoNotHerd(t *testing.T) {
	const choosers, each = 4, 100
	real := map[string]int{}
	for chooser := range choosers {
		view := []Server{good("a", 10), good("b", 10), good("c", 10), good("d", 10)}
		for i := range each {
			name, _ := Choose(Policy{}, Target{ID: fmt.Sprint("device", chooser, "/", i)}, view).Server()
			view[slices.IndexFunc(view, func(s Server) bool { return s.Name == name })].Assigned++
			real[name]++
		}
	}
	for name, n := range real {
		if n < 80 || n > 120 {
			t.Errorf("%s got %d of %d targets, a fair share is %d", name, n, choosers*each, choosers*each/4)
		}
	}
}

func TestTargetsOfADeadServerSpreadOverAllSurvivorsByPower(t *testing.T) {
	servers := []Server{good("a", 0), good("b", 0), good("c", 0), good("d", 0), good("e", 0)}
	servers[4].Power = 3
	next := map[string]int{}
	orphans := 0
	for i := range 20_000 {
		c := Choose(Policy{}, Target{ID: fmt.Sprint("device", i)}, servers)
		if c.Ranked[0] == "a" {
			orphans++
			next[c.Ranked[1]]++
		}
	}
	for _, s := range servers[1:] {
		// Alternates of the targets of a. The draw for the first place prefers high scores too, which thins
		// out the strong server a little among second places; a wide margin covers that.
		share := float64(orphans) * s.power() / 6
		if got := float64(next[s.Name]); got < 0.7*share || got > 1.35*share {
			t.Errorf("%s would get %.0f of %d orphans, its share is %.0f", s.Name, got, orphans, share)
		}
	}
}

func TestOrderOfAlternatesDoesNotChangeWhenAServerLeaves(t *testing.T) {
	servers := []Server{good("a", 5), good("b", 5), good("c", 5), good("d", 5), good("e", 5)}
	for i := range 2_000 {
		// The current server stays chosen, so that what remains is the order of the alternates.
		target := Target{ID: fmt.Sprint("device", i), Current: "a"}
		all := Choose(Policy{}, target, servers).Ranked
		gone := servers[1+i%4].Name
		left := slices.DeleteFunc(slices.Clone(servers), func(s Server) bool { return s.Name == gone })
		want := slices.DeleteFunc(slices.Clone(all), func(n string) bool { return n == gone })
		if got := Choose(Policy{}, target, left).Ranked; !slices.Equal(got, want) {
			t.Fatalf("%s: order %v became %v when %s left", target.ID, all, got, gone)
		}
	}
}

func TestSlowDisksAndBusyLinksCountAsTargets(t *testing.T) {
	cases := []struct {
		name   string
		server Server
		want   float64
	}{
		{"idle", Server{}, 0},
		{"sessions over power", Server{Sessions: 30, Assigned: 10, Power: 4}, 10},
		{"no rating counts as 1", Server{Sessions: 7, Power: -1}, 7},
		{"a millisecond of queue is a target", Server{Sessions: 7, QueueDelay: 3 * time.Millisecond, Power: 2}, 6.5},
		{"a stalled disk counts a second at most", Server{QueueDelay: time.Hour}, 1000},
		{"100 MB/s are ten targets", Server{EgressBytes: 100e6, Power: 2}, 5},
		{"nonsense counts as nothing", Server{Sessions: -5, Assigned: -1, QueueDelay: -time.Second, EgressBytes: -1e9}, 0},
	}
	for _, c := range cases {
		if got := c.server.Load(); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: load %g, want %g", c.name, got, c.want)
		}
	}
}
