package repotest

import (
	"os"
	"testing"
)

// Each pass of "make test" says how it must be built; what it claims to have tested then was.
func TestPassIsBuiltAsItClaims(t *testing.T) {
	if os.Getenv("REQUIRE_RACE") == "1" && !raceEnabled {
		t.Error("REQUIRE_RACE=1, and this pass was built without -race")
	}
	if os.Getenv("FORBID_RACE") == "1" && raceEnabled {
		t.Error("FORBID_RACE=1, and this pass was built with -race: allocation tests were left out")
	}
}
