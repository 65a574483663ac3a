//go:build system

package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
)

// What `spated --store` prints attaches its vDisk as it stands there, and nothing is left in the store.
func TestThePrintedLineAttachesTheVDisk(t *testing.T) {
	store := storeWithDisk(t)
	p := folderServer(t, store)
	await(t, p, "ready")
	checkDisk(t, attachByLine(t, await(t, p, "spate-target attach")), diskSize)
	files, err := os.ReadDir(store)
	ok(t, err)
	if len(files) != 1 {
		t.Errorf("in the store lie: %v", files)
	}
}

// A folder without a vDisk is served; a vDisk that is put there is announced.
func TestAnEmptyFolderWaitsForVDisks(t *testing.T) {
	store := folder(t)
	p := folderServer(t, store)
	await(t, p, "ready")
	if strings.Contains(p.Out.String(), "spate-target attach") {
		t.Fatalf("an empty folder offers something:\n%s", p.Out)
	}
	file, err := image()
	ok(t, err)
	ok(t, lab.CopyTo(store, file))
	checkDisk(t, attachByLine(t, await(t, p, "spate-target attach")), diskSize)
}

// A folder that the server may not write to is as good as any.
func TestAReadOnlyFolderIsServed(t *testing.T) {
	store, state := storeWithDisk(t), folder(t)
	spawn := folderSpawn(t, store, "--state", state)
	ok(t, os.Chmod(store, 0o555))
	if os.Geteuid() == 0 { // who may do everything proves nothing
		const nobody = 65534
		ok(t, os.Chown(state, nobody, nobody))
		spawn.User = nobody
	}
	p := start(t, spawn)
	checkDisk(t, attachByLine(t, await(t, p, "spate-target attach")), diskSize)
}

// A raw image in the store is listed with the command that imports it, and that command does.
func TestARawImageIsListedWithTheCommandThatImportsIt(t *testing.T) {
	store := folder(t)
	raw, err := os.Create(filepath.Join(store, "my disk.img"))
	ok(t, err)
	const size = 3<<20 + 512
	b := make([]byte, size)
	readFull(t, b)
	_, err = raw.Write(b)
	ok(t, err)
	ok(t, raw.Close())
	p := folderServer(t, store)
	line := await(t, p, "not imported, run: ")
	await(t, p, "ready")
	_, command, _ := strings.Cut(line, "run: ")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	out, err := lab.Run(soon(t), "sh", "-c", command)
	ok(t, err)
	t.Log(line, "\n", out)
	checkDisk(t, attachByLine(t, await(t, p, "spate-target attach")), size)
}

func readFull(t testing.TB, b []byte) {
	t.Helper()
	r := testdisk.Reader(int64(len(b)))
	for len(b) > 0 {
		n, err := r.Read(b)
		ok(t, err)
		b = b[n:]
	}
}

// Two servers cannot share a port: the second says who has it.
func TestASecondServerOnAPortNamesTheFirst(t *testing.T) {
	first := folderSpawn(t, folder(t))
	a := start(t, first)
	await(t, a, "ready")
	second := first
	second.Args = append(slices.Clone(first.Args), "--state", folder(t))
	b := start(t, second)
	status, err := b.Wait(soon(t))
	ok(t, err)
	if want := fmt.Sprintf("%d", a.PID()); status != 1 || !strings.Contains(b.Log.String(), want) {
		t.Errorf("status %d, and nothing names process %s:\n%s", status, want, b.Log)
	}
}

// With --join two folders are a farm: when one server is gone, the other one serves.
func TestJoinMakesAFarmOfTwo(t *testing.T) {
	store, stateA, stateB := storeWithDisk(t), folder(t), folder(t)
	a := folderServer(t, store, "--state", stateA)
	await(t, a, "ready")
	line := await(t, a, "another server joins with")
	_, join, _ := strings.Cut(line, "--join ")
	join, _, _ = strings.Cut(join, " ")
	key, err := os.ReadFile(filepath.Join(stateA, "farm.key"))
	ok(t, err)
	ok(t, os.WriteFile(filepath.Join(stateB, "farm.key"), key, keyfile.Mode))
	storeB := folder(t)
	file, err := image()
	ok(t, err)
	ok(t, lab.CopyTo(storeB, file))
	b := folderServer(t, storeB, "--state", stateB, "--join", join)
	attachLine := await(t, b, "spate-target attach")
	await(t, b, "ready")
	logged(t, b, `"msg":"server is alive"`)
	target := attachByLine(t, attachLine)
	r := readAllTheTime(t, target)
	r.goesOn()
	served := await(t, target.Process, " serves "+lab.VDisk)
	victim, other := a, b
	if strings.Contains(served, strings.Fields(await(t, b, "spate-target attach"))[3]) {
		victim, other = b, a
	}
	victim.Kill()
	r.goesOn()
	await(t, target.Process, "→")
	if !other.Running() {
		t.Error("the other server has ended, too")
	}
}

// A name that the farm file does not have is answered with those that it has.
func TestAnUnknownServerNameIsAnsweredWithTheNames(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 3})
	p := start(t, lab.Spawn{Name: "spated", Args: []string{program("spated"), "--config", f.File, "--server", "lab-z"}})
	status, err := p.Wait(soon(t))
	ok(t, err)
	for _, name := range []string{"lab-z", "lab-a", "lab-b", "lab-c"} {
		if status != 1 || !strings.Contains(p.Log.String(), name) {
			t.Errorf("status %d, %q is not named:\n%s", status, name, p.Log)
		}
	}
}

// All mistakes of a farm file are told at once, each with its place, and --check is enough to see them.
func TestCheckTellsEveryMistake(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 2})
	text := f.Text()
	for _, change := range [][2]string{
		{"stream: " + f.Servers[0].Addr.String(), "stream: 300.1.2.3"},
		{"site: here\n    servers", "site: nowhere\n    servers"},
		{"store: main", "store: side"},
		{"login: open", "login: perhaps"},
		{"unknown: all", "unknown: nobody\n  colour: red"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the farm file has no %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	ok(t, os.WriteFile(f.File, []byte(text), 0o644))
	p := start(t, lab.Spawn{Name: "spated", Args: []string{program("spated"), "--config", f.File, "--check"}})
	status, err := p.Wait(soon(t))
	ok(t, err)
	for _, word := range []string{"300.1.2.3", "nowhere", "side", "perhaps", "nobody", "colour"} {
		if status != 1 || !strings.Contains(p.Log.String(), word) {
			t.Errorf("status %d, nothing is said of %q:\n%s", status, word, p.Log)
		}
	}
	if n := strings.Count(p.Log.String(), f.File+":"); n < 5 {
		t.Errorf("%d places are named:\n%s", n, p.Log)
	}
}

// A bad farm file changes nothing: the server says why, and goes on serving; a good one is taken.
func TestHangUpWithABadFarmFileChangesNothing(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 2})
	target := attach(t, f, "t1")
	r := readAllTheTime(t, target)
	r.goesOn()
	good, err := os.ReadFile(f.File)
	ok(t, err)
	ok(t, os.WriteFile(f.File, []byte(strings.Replace(string(good), "login: open", "login: perhaps", 1)), 0o644))
	for _, s := range f.Servers {
		ok(t, s.Signal(syscall.SIGHUP))
		if line := logged(t, s.Process, "farm file not taken"); !strings.Contains(line, "perhaps") {
			t.Errorf("it does not say why: %s", line)
		}
	}
	r.goesOn()
	attach(t, f, "t2") // a new log-in works by the old file
	ok(t, os.WriteFile(f.File, append(good, "# seen\n"...), 0o644))
	ok(t, f.Servers[0].Signal(syscall.SIGHUP))
	logged(t, f.Servers[0].Process, "farm file read")
	eventually(t, "the console tells that one server has read another farm file", func() bool {
		out, err := f.Servers[1].Spate(t.Context(), "server", "list")
		return err == nil && strings.Contains(out, f.Servers[0].Name+" has another farm file")
	})
	ok(t, f.Servers[1].Signal(syscall.SIGHUP))
	eventually(t, "both have the same farm file again", func() bool {
		out, err := f.Servers[1].Spate(t.Context(), "server", "list")
		return err == nil && !strings.Contains(out, "another farm file")
	})
	r.goesOn()
	if s, err := target.Status(context.WithoutCancel(soon(t))); err != nil || s.Failovers > 0 || s.Errors > 0 {
		t.Errorf("the session was disturbed: %+v, %v", s, err)
	}
}
