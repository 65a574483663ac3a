package repotest

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule says what the packages below dir may import. The most specific rule counts. Standard library packages
// are allowed unless denied; packages of this repository and of other modules only if listed.
type rule struct {
	dir  string
	own  []string // folders of this repository, each with all below it
	mods []string // import path prefixes of other modules; "*" for any
	deny []string // standard library packages, each with all below it
	pure bool     // no clock, no goroutine, no global randomness
	why  string
}

// pureDenied are the packages by which a function reaches the world outside its arguments.
var pureDenied = []string{"os", "net", "syscall", "log", "io/ioutil", "crypto/rand", "testing"}

var rules = []rule{
	{dir: "stream/wire", pure: true, deny: pureDenied,
		why: "bytes and messages only: the standard library is enough, and anyone can read the protocol there"},
	{dir: "stream/secure", pure: true, deny: pureDenied, own: []string{"stream/wire"},
		mods: []string{"github.com/flynn/noise", "golang.zx2c4.com/wireguard/", "golang.org/x/crypto/"},
		why:  "randomness and time are arguments, so that the simulation replays from a seed"},
	{dir: "stream/engine", pure: true, deny: pureDenied, own: []string{"stream/wire", "stream/secure"},
		why: "state machines that are stepped: no socket, goroutine, clock, disk or global randomness"},
	{dir: "stream/udp", own: []string{"stream/udp"}, mods: []string{"golang.org/x/sys/", "golang.org/x/net/"},
		why: "sockets only; it knows neither messages nor sessions"},
	{dir: "stream/simnet", own: []string{"stream/udp"},
		why: "an in-memory network in place of udp"},
	{dir: "stream", own: []string{"stream"}, mods: []string{"golang.org/x/sys/", "golang.org/x/sync/", "go.uber.org/zap"},
		why: "stream, vdisk, bootsvc and loadbalance are strangers: each states what it needs as an interface of its own"},
	{dir: "vdisk/tree", pure: true, deny: pureDenied,
		mods: []string{"github.com/zeebo/blake3", "github.com/klauspost/compress/"},
		why:  "the target links it too: the tree and its codecs, no files"},
	{dir: "vdisk", own: []string{"vdisk"},
		mods: []string{"golang.org/x/sys/", "golang.org/x/sync/", "github.com/zeebo/blake3", "github.com/klauspost/compress/",
			"github.com/fsnotify/fsnotify", "go.uber.org/zap"},
		why: "stream, vdisk, bootsvc and loadbalance are strangers: each states what it needs as an interface of its own"},
	{dir: "loadbalance", pure: true, deny: pureDenied,
		why: "pure functions over plain values, so that every choice can be explained and replayed"},
	{dir: "bootsvc/parts", pure: true, deny: pureDenied,
		why: "the head of a boot image: whoever makes one and whoever serves one read and write the same bytes, without files or network"},
	{dir: "bootsvc", own: []string{"bootsvc"},
		mods: []string{"github.com/insomniacslk/dhcp/", "github.com/pin/tftp/v3", "golang.org/x/", "go.uber.org/zap"},
		why:  "stream, vdisk, bootsvc and loadbalance are strangers: each states what it needs as an interface of its own"},
	{dir: "cmd", own: []string{"cmd/internal", "stream", "vdisk", "bootsvc", "loadbalance"}, mods: []string{"*"},
		why: "programs are put together from cmd/internal and the product folders"},
}

// testModules may be imported by test files everywhere.
var testModules = []string{"go.uber.org/goleak", "go.uber.org/zap", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/"}

func TestPackagesImportOnlyWhatTheirRuleAllows(t *testing.T) {
	repo := repository(t)
	for _, f := range repo.goes {
		r, ok := ruleFor(f.dir)
		if !ok {
			t.Errorf("%s: no import rule for this folder; add one to %s", f.path, "cmd/internal/repotest/imports_test.go")
			continue
		}
		for _, spec := range f.ast.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatalf("%s: %v", repo.at(spec), err)
			}
			if !r.allows(f, path) {
				t.Errorf("%s: %s may not import %s: %s", repo.at(spec), f.dir, path, r.why)
			}
		}
	}
}

func ruleFor(dir string) (rule, bool) {
	best := -1
	for i, r := range rules {
		if below(dir, r.dir) && (best < 0 || len(r.dir) > len(rules[best].dir)) {
			best = i
		}
	}
	if best < 0 {
		return rule{}, false
	}
	return rules[best], true
}

func (r rule) allows(f goFile, path string) bool {
	if own, ok := strings.CutPrefix(path, module+"/"); ok {
		// The simulated network is made for tests of any folder; a test in package x_test imports x.
		if f.test && (own == "stream/simnet" || own == f.dir || below(own, r.dir)) {
			return true
		}
		return below(own, r.dir) || slices.ContainsFunc(r.own, func(a string) bool { return below(own, a) })
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") { // the standard library
		netip := path == "net/netip" // plain values, whatever its place in the tree
		denied := slices.ContainsFunc(r.deny, func(d string) bool { return below(path, d) })
		return f.test || netip || !denied
	}
	if f.test && prefixed(path, testModules) {
		return true
	}
	return prefixed(path, r.mods)
}

func prefixed(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return p == "*" || strings.HasPrefix(path, p) })
}

// clockAndChance are the functions by which pure code would see something that is not an argument.
var clockAndChance = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"math/rand":    {"Int", "Intn", "Int31", "Int31n", "Int63", "Int63n", "Uint32", "Uint64", "Float32", "Float64", "Perm", "Shuffle", "Read", "Seed"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN", "N", "Float32", "Float64", "Perm", "Shuffle"},
}

func TestPurePackagesUseNeitherClockNorGoroutineNorGlobalRandomness(t *testing.T) {
	repo := repository(t)
	for _, f := range repo.goes {
		r, ok := ruleFor(f.dir)
		if !ok || !r.pure || f.test {
			continue
		}
		names := importNames(f.ast)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a goroutine in %s: %s", repo.at(n), f.dir, r.why)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && slices.Contains(clockAndChance[names[pkg.Name]], n.Sel.Name) {
					t.Errorf("%s: %s.%s in %s: %s", repo.at(n), pkg.Name, n.Sel.Name, f.dir, r.why)
				}
			}
			return true
		})
	}
}

// importNames maps the names by which a file speaks of its imports to their paths.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path[strings.LastIndexByte(path, '/')+1:]
		if path == "math/rand/v2" {
			name = "rand"
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}

// targetDenied is what only a server needs, or only people: the target's program is small without it. It is /init of a machine
// that boots, which loads every byte of it by PXE and waits while its packages initialise themselves: cobra with regexp, templates and
// URLs is a fourteenth of the first, and milliseconds of the second.
var targetDenied = []string{
	"github.com/hashicorp/memberlist", "github.com/danielgtaylor/huma", "github.com/goccy/go-yaml", "github.com/fsnotify/fsnotify", "net/http",
	"github.com/spf13/cobra", "regexp", "text/template", "net/url",
}

// zapWithHTTP brings net/http, an eighth of the target's program. Its part zapcore does not.
const zapWithHTTP = "go.uber.org/zap"

// spate-target links nothing that a machine which boots does without.
func TestTargetLinksNothingThatABootDoesWithout(t *testing.T) {
	repo := repository(t)
	imports := map[string][]string{}
	for _, f := range repo.goes {
		if f.test {
			continue
		}
		for _, spec := range f.ast.Imports {
			if path, err := strconv.Unquote(spec.Path.Value); err == nil {
				imports[f.dir] = append(imports[f.dir], path)
			}
		}
	}
	seen := map[string]bool{}
	var visit func(dir, via string)
	visit = func(dir, via string) {
		if seen[dir] {
			return
		}
		seen[dir] = true
		for _, path := range imports[dir] {
			if prefixed(path, targetDenied) || path == zapWithHTTP {
				t.Errorf("cmd/spate-target links %s (by %s)", path, via+" > "+dir)
			}
			if own, ok := strings.CutPrefix(path, module+"/"); ok {
				visit(own, strings.TrimPrefix(via+" > "+dir, " > "))
			}
		}
	}
	visit("cmd/spate-target", "")
}
