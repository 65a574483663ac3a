package rootfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The packages come from where this machine has its own, if that is the suite that is asked for.
func TestPackagesComeFromWhereThisMachineHasItsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sources.list.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sources.list": "# deb http://x/ bookworm main\ndeb-src http://x/ bookworm main\n deb [arch=amd64 signed-by=/x] http://near.example/debian bookworm main contrib # near\n" +
			"deb cdrom:[Debian]/ bookworm main\ndeb http://near.example/debian bookworm-backports main\ndeb\n",
		"sources.list.d/debian.sources": "Types: deb deb-src\nURIs: https://security.example/\nSuites: bookworm-security\n  bookworm-updates\nComponents: main\n\n" +
			"Types: deb\nEnabled: no\nURIs: http://off.example/\nSuites: bookworm\nComponents: main\n",
		"sources.list.d/other.list":   "deb https://vendor.example/apt stable main\ndeb https://vendor.example/apt bookworm tools\n",
		"sources.list.d/other.backup": "deb http://old.example bookworm main\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"deb http://near.example/debian bookworm main contrib", "deb https://security.example/ bookworm-security main",
		"deb https://security.example/ bookworm-updates main",
	}
	if got := ownSources(dir, "bookworm"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, other := range []string{"trixie", "stable-updates", "book"} {
		if got := ownSources(dir, other); got != nil {
			t.Errorf("for %s: %q", other, got)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add("deb [a=b] http://x y main\n\nTypes: deb\nURIs: http://x\nSuites: y\n z\nComponents: main\n")
	f.Add("deb [\n:\n \n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range append(oneLine(text), stanzas(text)...) {
			if s.uri == "" || s.suite == "" {
				t.Errorf("%+v", s)
			}
		}
	})
}
