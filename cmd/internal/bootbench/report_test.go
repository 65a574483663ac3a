package main

import (
	"strings"
	"testing"
)

// A bound is missed by the median of all rounds, not by one of them; and nothing measured is no success.
func TestMediansAreHeldAgainstTheBounds(t *testing.T) {
	peer := []sample{{5, 6, 10, 60}, {5, 6, 10, 60}, {5, 60, 10, 60}}
	spate := []sample{{5.9, 6.1, 8, 29}, {90, 5.8, 8.1, 30}, {5.8, 6.1, 8.2, 31}}
	var out strings.Builder
	rows := compare(map[string][]sample{spateName: spate, peerName: peer})
	printRows(&out, rows)
	for i, ok := range []bool{true, false, false, true} {
		if rows[i].OK != ok {
			t.Errorf("%s: %v\n%s", rows[i].Name, rows[i].OK, out.String())
		}
	}
	if n := strings.Count(out.String(), "MISSED"); n != 2 {
		t.Errorf("%d bounds are missed:\n%s", n, out.String())
	}
	for _, r := range compare(map[string][]sample{peerName: peer}) {
		if r.OK {
			t.Errorf("%s: good without a round", r.Name)
		}
	}
}
