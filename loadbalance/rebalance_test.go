package loadbalance

import (
	"fmt"
	"testing"
	"time"
)

// crowd returns n targets that have been on the server for an hour.
func crowd(server string, n int) []Running {
	targets := make([]Running, n)
	for i := range targets {
		targets[i] = Running{Target: Target{ID: fmt.Sprint(server, "/", i), Current: server}, Age: time.Hour}
	}
	return targets
}

func TestRebalanceMovesInSmallStepsUntilNothingIsGained(t *testing.T) {
	servers := []Server{good("a", 100), good("b", 0)}
	running := crowd("a", 100)
	steps := 0
	for {
		plan := Rebalance(Policy{}, DefaultPace(), servers, running)
		if len(plan.Moves) == 0 {
			break
		}
		if len(plan.Moves) > 5 {
			t.Fatalf("step %d moves %d of 100 targets", steps, len(plan.Moves))
		}
		for _, m := range plan.Moves {
			if m.From != "a" || m.To != "b" || m.Reason == "" {
				t.Fatalf("step %d: move %+v", steps, m)
			}
			for i := range running {
				if running[i].Target.ID == m.Target {
					running[i].Target.Current = m.To
				}
			}
			servers[0].Sessions--
			servers[1].Sessions++
		}
		if steps++; steps > 20 {
			t.Fatalf("still moving after %d steps: %d and %d targets", steps, servers[0].Sessions, servers[1].Sessions)
		}
	}
	if servers[0].Sessions > 60 || servers[1].Sessions < 40 {
		t.Errorf("stopped at %d and %d targets", servers[0].Sessions, servers[1].Sessions)
	}
}

func TestRebalanceLeavesAloneWhatItShould(t *testing.T) {
	young, booting := crowd("a", 100), crowd("a", 100)
	for i := range young {
		young[i].Age = time.Minute
		booting[i].Booting = i < 11
	}
	skewed := []Server{good("a", 100), good("b", 0)}
	cases := []struct {
		name    string
		servers []Server
		running []Running
		want    string
	}{
		{"few targets", []Server{good("a", 19), good("b", 0)}, crowd("a", 19), "19 targets run, too few to balance"},
		{"many booting", skewed, booting, "11 of 100 targets are booting; nothing moves until they have"},
		{"targets that just came", skewed, young, "100 targets are where they should be"},
		{"a small difference", []Server{good("a", 55), good("b", 45)}, crowd("a", 55), "55 targets are where they should be"},
		{"a server in a worse tier", []Server{good("a", 100), with(good("b", 0), func(s *Server) { s.Tier = 2 })},
			crowd("a", 100), "100 targets are where they should be"},
		{"a server that just came back", []Server{good("a", 100), with(good("b", 0), func(s *Server) { s.Returned = time.Second })},
			crowd("a", 100), "100 targets are where they should be"},
		{"targets of a server that is going away", []Server{with(good("a", 100), func(s *Server) { s.State = Leaving }), good("b", 0)},
			crowd("a", 100), "100 targets are where they should be"},
		{"targets of a server that nobody knows", []Server{good("b", 0)}, crowd("a", 100), "100 targets are where they should be"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			plan := Rebalance(Policy{Hold: time.Minute}, DefaultPace(), c.servers, c.running)
			if len(plan.Moves) != 0 || plan.Reason != c.want {
				t.Errorf("got %d moves, %q; want none, %q", len(plan.Moves), plan.Reason, c.want)
			}
		})
	}
}

func TestRebalanceBringsTargetsBackToABetterTier(t *testing.T) {
	servers := []Server{with(good("a", 40), func(s *Server) { s.Tier = 2 }), good("b", 200)}
	plan := Rebalance(Policy{}, DefaultPace(), servers, crowd("a", 40))
	if len(plan.Moves) != 2 || plan.Moves[0].To != "b" || plan.Moves[0].Reason != "suits better: in tier 1" {
		t.Errorf("got %+v, want 2 moves to b in tier 1", plan)
	}
}
