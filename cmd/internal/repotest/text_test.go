package repotest

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// topLevel is all that may lie at the top of the repository.
var topLevel = []string{
	"cmd", "stream", "vdisk", "bootsvc", "loadbalance", "testdata", "go.mod", "go.sum", "Makefile",
	"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "NETBOOT.md", "LICENSE",
	".ci", ".gitignore", ".gitattributes", ".golangci.yml",
}

func TestTopLevelIsFixed(t *testing.T) {
	for _, path := range repository(t).files {
		top, _, _ := strings.Cut(path, "/")
		if !slices.Contains(topLevel, top) {
			t.Errorf("%s: %q is not part of the fixed top level", path, top)
		}
	}
}

// unwanted are words that must not stand in any text of the repository. The expressions are written so that
// they do not match themselves.
var unwanted = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`\b(TO[D]O|FIX[M]E|XX[X])\b`), "finish it, or say in the package's doc.go what was left out and why"},
	{regexp.MustCompile(`(^|[\s"'=(:])/(wo[r]k|roo[t]|hom[e])/`), "a path of one machine"},
	{regexp.MustCompile(`prox[y]\.golang\.org|registr[y]\.npmjs|de[b]\.debian\.org|GOPROX[Y]=|pkg\.go\.de[v]/`), "the host of a registry: the clients know where theirs is"},
}

func TestNoUnfinishedNotesHostPathsOrRegistries(t *testing.T) {
	repo := repository(t)
	for _, path := range repo.files {
		if path == "LICENSE" || strings.Contains("/"+path, "/testdata/") || strings.HasSuffix(path, ".sum") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(repo.root, path))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(b, 0) >= 0 { // not text
			continue
		}
		for i, line := range strings.Split(string(b), "\n") {
			for _, u := range unwanted {
				if m := u.pattern.FindString(line); m != "" {
					t.Errorf("%s:%d: %q: %s", path, i+1, strings.TrimSpace(m), u.why)
				}
			}
		}
	}
}

func TestMakefileTargetsAreDocumented(t *testing.T) {
	repo := repository(t)
	text := repo.read(t, "Makefile")
	target := regexp.MustCompile(`^([a-z][a-z0-9-]*):([^=].*)?$`)
	known := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		if m := target.FindStringSubmatch(line); m != nil {
			known[m[1]] = true
			if !strings.Contains(line, " ## ") {
				t.Errorf("Makefile:%d: target %s has no ## line", i+1, m[1])
			}
		}
	}
	spoken := regexp.MustCompile("`make ([a-z][a-z0-9-]*)")
	for _, doc := range repo.files {
		if !strings.HasSuffix(doc, ".md") {
			continue
		}
		for _, m := range spoken.FindAllStringSubmatch(repo.read(t, doc), -1) {
			if !known[m[1]] {
				t.Errorf("%s speaks of %q, which the Makefile does not have", doc, "make "+m[1])
			}
		}
	}
}

// The packages that tests need are listed in one place, which the documents show as it is.
func TestContributingListsThePackagesThatCIInstalls(t *testing.T) {
	repo := repository(t)
	var packages []string
	for line := range strings.Lines(repo.read(t, ".ci/packages")) {
		name, _, _ := strings.Cut(line, "#")
		packages = append(packages, strings.Fields(name)...)
	}
	if len(packages) == 0 {
		t.Fatal(".ci/packages lists nothing")
	}
	if want := "apt-get install " + strings.Join(packages, " "); !strings.Contains(strings.Join(strings.Fields(
		strings.ReplaceAll(repo.read(t, "CONTRIBUTING.md"), "\\\n", " ")), " "), want) {
		t.Errorf("CONTRIBUTING.md must contain (line breaks aside): %s", want)
	}
}
