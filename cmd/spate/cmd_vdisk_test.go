package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/vdisk"
)

// run runs a command line and gives what it writes to standard output and error, and its exit code.
func run(t *testing.T, input []byte, args ...string) (out, errs string, code int) {
	t.Helper()
	root := newRootCommand()
	var o, e bytes.Buffer
	root.SetOut(&o)
	root.SetErr(&e)
	root.SetIn(bytes.NewReader(input))
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err != nil {
		code = exitCode(err)
		e.WriteString(err.Error())
	}
	return o.String(), e.String(), code
}

// disk makes an image of 1 MiB: text, noise and zeros.
func disk() []byte {
	b := make([]byte, 1<<20)
	copy(b, strings.Repeat("a flood of similar things at once\n", 4000))
	rng := rand.NewChaCha8([32]byte{7})
	rng.Read(b[256<<10 : 320<<10])
	return b
}

func imageFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "debian12.img")
	if err := os.WriteFile(path, disk(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// From an image to a verified vDisk and its copy, with the words a person reads.
func TestAnImageBecomesAVerifiedVdisk(t *testing.T) {
	store, image := t.TempDir(), imageFile(t)
	out, errs, code := run(t, nil, "vdisk", "import", image, "--into", store)
	if code != 0 || !strings.HasPrefix(out, "debian12 version 0: 1.0 MiB disk, ") || !strings.Contains(out, "% zeros), root ") || errs != "" {
		t.Fatalf("import: %d %q %q", code, out, errs)
	}
	_, errs, code = run(t, nil, "vdisk", "import", image, "--into", store)
	if code != exitFailed || !strings.Contains(errs, "--new-version") {
		t.Errorf("import again: %d %q", code, errs)
	}
	out, _, code = run(t, nil, "vdisk", "import", image, "--into", store, "--new-version", "--chunk", "64K", "--codec", "s2", "--json")
	var v versionJSON
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != 0 || v.Version != 1 || v.Chunk != 64<<10 || v.Codec != "s2" ||
		v.Size != 1<<20 {
		t.Errorf("new version: %d %q %v", code, out, err)
	}
	out, _, code = run(t, disk(), "vdisk", "import", "-", "--name", "piped", "--into", store)
	if code != 0 || !strings.HasPrefix(out, "piped version 0: 1.0 MiB disk") {
		t.Errorf("from a pipe: %d %q", code, out)
	}
	out, _, code = run(t, nil, "vdisk", "list", "--store", store)
	if lines := strings.Split(out, "\n"); code != 0 || len(lines) != 5 || !strings.HasPrefix(lines[1], "debian12   0 ") ||
		!strings.HasPrefix(lines[2], "debian12   1 ") || !strings.HasPrefix(lines[3], "piped      0 ") {
		t.Errorf("list: %d\n%s", code, out)
	}
	out, _, code = run(t, nil, "vdisk", "info", "debian12", "--store", store)
	if code != 0 || !strings.Contains(out, "version      1\n") || !strings.Contains(out, "1.0 MiB (1048576 bytes), sectors of 512") {
		t.Errorf("info: %d\n%s", code, out)
	}
	out, _, code = run(t, nil, "vdisk", "verify", "--store", store)
	if code != 0 || strings.Count(out, ": sound, 1.0 MiB checked") != 3 {
		t.Errorf("verify: %d\n%s", code, out)
	}
}

func TestVerifyFindsDamageAndSaysSoWithItsExitCode(t *testing.T) {
	store := t.TempDir()
	run(t, nil, "vdisk", "import", imageFile(t), "--into", store)
	path := filepath.Join(store, "debian12.0.spate")
	b, _ := os.ReadFile(path)
	b[5000] ^= 1
	os.WriteFile(path, b, 0o600)
	out, errs, code := run(t, nil, "vdisk", "verify", "debian12@0", "--store", store)
	if code != exitDamaged || !strings.Contains(out, "DAMAGED, 1 complaint, file "+path+"\n  chunk ") ||
		!strings.Contains(out, "what to do: copy the file of a server whose copy is sound beside "+path+", and mv it over") || !strings.Contains(errs, "1 of 1 versions") {
		t.Errorf("verify: %d %q %q", code, out, errs)
	}
	out, _, code = run(t, nil, "vdisk", "verify", "debian12", "--store", store, "--json")
	var verdicts []verdictJSON
	if err := json.Unmarshal([]byte(out), &verdicts); err != nil || code != exitDamaged || len(verdicts) != 1 || verdicts[0].Sound {
		t.Errorf("verify --json: %d %q %v", code, out, err)
	}
	_, errs, code = run(t, nil, "vdisk", "adopt", "debian12", "--store", store)
	if code != exitDamaged || !strings.Contains(errs, "is damaged") {
		t.Errorf("adopt: %d %q", code, errs)
	}
	os.WriteFile(path, b[:9000], 0o600)
	out, _, code = run(t, nil, "vdisk", "verify", path)
	if code != exitDamaged || !strings.Contains(out, "incomplete") {
		t.Errorf("verify of a cut file: %d %q", code, out)
	}
	os.WriteFile(path, []byte("something else"), 0o600)
	if out, _, code = run(t, nil, "vdisk", "verify", path); code != exitDamaged || !strings.Contains(out, "what to do: copy the file") {
		t.Errorf("verify of something else under the name of a version: %d %q", code, out)
	}
	other := filepath.Join(store, "README.md")
	os.WriteFile(other, []byte("something else"), 0o600)
	out, errs, code = run(t, nil, "vdisk", "verify", other)
	if code != exitFailed || !strings.Contains(errs, "nothing to verify: the file is no vDisk") || strings.Contains(out+errs, "damage") {
		t.Errorf("verify of a file that is no vDisk: %d %q %q", code, out, errs)
	}
	os.WriteFile(path, b[:9000], 0o600)
	out, _, code = run(t, nil, "vdisk", "list", "--store", store)
	if code != 0 || !strings.Contains(out, "debian12.0.spate cannot be used: incomplete") {
		t.Errorf("list: %d %q", code, out)
	}
}

func TestAdoptMakesCopiesIdentical(t *testing.T) {
	a, b, image := t.TempDir(), t.TempDir(), imageFile(t)
	run(t, nil, "vdisk", "import", image, "--into", a)
	run(t, nil, "vdisk", "import", image, "--into", b)
	file := func(dir string) string { return filepath.Join(dir, "debian12.0.spate") }
	facts := func(dir string) vdisk.Facts {
		v, err := vdisk.Open(file(dir))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		return v.Facts()
	}
	if fa, fb := facts(a), facts(b); fa == fb || fa.Root != fb.Root {
		t.Fatalf("two imports are %+v and %+v", fa, fb)
	}
	out, errs, code := run(t, nil, "vdisk", "adopt", "debian12", "--store", b, "--like", file(a))
	if fa, fb := facts(a), facts(b); code != 0 || fa != fb || !strings.HasPrefix(out, "adopted ") {
		t.Errorf("adopted, they are %+v and %+v: %d %q %q", fa, fb, code, out, errs)
	}
	other := t.TempDir()
	run(t, nil, "vdisk", "import", image, "--into", other, "--codec", "none")
	_, errs, code = run(t, nil, "vdisk", "adopt", "debian12", "--store", b, "--like", file(other))
	if code != exitFailed || !strings.Contains(errs, "the same disk as "+file(other)+", stored differently") {
		t.Errorf("stored differently: %d %q", code, errs)
	}
	run(t, disk()[:4096], "vdisk", "import", "-", "--name", "debian12", "--into", other, "--new-version")
	_, errs, code = run(t, nil, "vdisk", "adopt", "debian12", "--store", b, "--like", filepath.Join(other, "debian12.1.spate"))
	if code != exitFailed || !strings.Contains(errs, "is debian12 version 1, not debian12 version 0") {
		t.Errorf("another version: %d %q", code, errs)
	}
	wrong := t.TempDir()
	run(t, disk()[:4096], "vdisk", "import", "-", "--name", "debian12", "--into", wrong)
	_, errs, code = run(t, nil, "vdisk", "adopt", "debian12", "--store", b, "--like", file(wrong))
	if code != exitFailed || !strings.Contains(errs, "holds another disk than") {
		t.Errorf("another disk: %d %q", code, errs)
	}
	// A damaged slot of the seal is written again, and the copy stays what it is.
	st, err := os.Stat(file(b))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file(b), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{0xff}, st.Size()-4096+100)
	f.Close()
	out, _, code = run(t, nil, "vdisk", "verify", "debian12", "--store", b)
	if code != exitDamaged || !strings.Contains(out, "seal slot 1") || !strings.Contains(out, "spate vdisk adopt debian12@0 --store "+b+" --like "+file(b)) {
		t.Errorf("a damaged slot: %d %q", code, out)
	}
	_, errs, code = run(t, nil, "vdisk", "adopt", "debian12@0", "--store", b, "--like", file(b))
	if fa, fb := facts(a), facts(b); code != 0 || fa != fb {
		t.Errorf("repaired, they are %+v and %+v: %d %q", fa, fb, code, errs)
	}
	if out, _, code = run(t, nil, "vdisk", "verify", "debian12", "--store", b); code != 0 {
		t.Errorf("repaired: %d %q", code, out)
	}
}

// Each mistake on the command line gets a sentence and the exit code for it.
func TestMistakesAreNamed(t *testing.T) {
	store := t.TempDir()
	run(t, nil, "vdisk", "import", imageFile(t), "--into", store)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"vdisk import", exitUsage, "wants IMAGE"},
		{"vdisk import x.img", exitUsage, "--into DIR is needed"},
		{"vdisk import x.img --into " + store + " --codec lzma", exitUsage, "must be one of [s2-better"},
		{"vdisk import x.img --into " + store + " --chunk 3", exitFailed, "no such file"},
		{"vdisk import x.img --into " + store + " --chunk many", exitUsage, "16K, 64K, 1M"},
		{"vdisk import x.img --size 8Q --into " + store, exitUsage, "512M, 8G, 1T"},
		{"vdisk import - --name cut --size 8G --into " + store, exitFailed, "the stream ended before its first byte"},
		{"vdisk import x.img --into /no/such", exitFailed, "there is no such folder; make it first"},
		{"vdisk import - --into " + store, exitFailed, "needs a name"},
		{"vdisk list --store=", exitUsage, "name the folder"},
		{"vdisk lst", exitUsage, `unknown command "lst" for spate vdisk; did you mean list?`},
		{"srever list", exitUsage, `unknown command "srever" for spate; did you mean server?`},
		{"server", 0, ""},
		{"server stop-stream", exitUsage, "wants NAME, the server"},
		{"server stop-stream lab-a --deadline -1s", exitUsage, "--deadline -1s"},
		{"server stop-stream lab-a --deadline soon", exitUsage, "invalid argument"},
		{"server list --admin ftp://lab-a", exitUsage, "names no server"},
		{"server list --admin https://lab-a", exitUsage, "wants a token"},
		{"target list lab-a", exitUsage, "wants no arguments"},
		{"explain", exitUsage, "wants DEVICE"},
		{"keygen x", exitUsage, "wants no arguments"},
		{"keygen --public /no/such", exitFailed, "is not there; copy it"},
		{"vdisk list --store /no/such", exitFailed, "no such file"},
		{"vdisk list --stor x", exitUsage, "unknown flag"},
		{"vdisk info", exitUsage, "wants NAME"},
		{"vdisk info other --store " + store, exitFailed, "has no vDisk other"},
		{"vdisk info debian12@4 --store " + store, exitFailed, "has no version 4 of debian12; it has 0"},
		{"vdisk info debian12@x --store " + store, exitUsage, "not a version number"},
		{"vdisk info debian12", exitUsage, "--store DIR"},
		{"vdisk verify", exitUsage, "name a file"},
		{"vdisk verify --store " + t.TempDir(), exitFailed, "holds no vDisk"},
	} {
		_, errs, code := run(t, nil, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, %q", c.args, code, errs)
		}
	}
}

func TestListNamesImagesThatWereNotImported(t *testing.T) {
	store := t.TempDir()
	os.WriteFile(filepath.Join(store, "win11.img"), disk(), 0o600)
	out, _, code := run(t, nil, "vdisk", "list", "--store", store)
	if want := "win11.img (raw, 1.0 MiB) is not imported, run: spate vdisk import " + store + "/win11.img --into " + store; code != 0 ||
		!strings.Contains(out, want) || !strings.Contains(out, "holds no vDisk") {
		t.Errorf("%d %q", code, out)
	}
	out, _, _ = run(t, nil, "vdisk", "list", "--store", store, "--json")
	var got storeJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Images) != 1 || got.Images[0].Format != "raw" {
		t.Errorf("%q %v", out, err)
	}
}

// On a terminal progress is one line that is written over, elsewhere a line every ten seconds.
func TestProgressIsWrittenSeldom(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var b bytes.Buffer
		now := time.Unix(1000, 0)
		p := newProgress(&b)
		p.terminal, p.now, p.began, p.last = terminal, func() time.Time { return now }, now, now
		for i := range 1000 {
			now = now.Add(25 * time.Millisecond)
			p.show(vdisk.Progress{Stage: vdisk.StageStore, Done: int64(i) << 20, Total: 1000 << 20, Stored: int64(i) << 19})
		}
		p.say("warning: look out")
		lines, overs := strings.Count(b.String(), "\n"), strings.Count(b.String(), "\r\x1b[K")
		if !terminal && (lines != 3 || overs != 0) || terminal && (lines != 1 || overs != 126) {
			t.Errorf("terminal %v: %d lines, %d times written over", terminal, lines, overs)
		}
		if want := "storing 399.0 MiB of 1000.0 MiB, 39 %, 40.0 MiB/s, 199.5 MiB stored, 15s left"; !strings.Contains(b.String(), want) {
			t.Errorf("terminal %v: does not say %q", terminal, want)
		}
	}
}

func TestSizesAreRead(t *testing.T) {
	for s, want := range map[string]uint32{"4096": 4096, "16K": 16 << 10, "16KiB": 16 << 10, "1M": 1 << 20, "64k": 64 << 10, "512B": 512} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "K", "-1", "1.5M", "16Q", "16KM", "99999999999", "4194304K"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q is accepted as %d", s, got)
		}
	}
}
