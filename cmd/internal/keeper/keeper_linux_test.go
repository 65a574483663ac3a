package keeper

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// TestMain makes this program keeper and worker, as spate-target is.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == Command {
		var err error
		switch os.Args[2] {
		case RoleKeeper:
			err = runKeeper(encloseStatic)
		case RoleHeir:
			err = RunHeir()
		case RoleWorker:
			err = scriptedWorker()
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// encloseStatic leaves a program where it is that could not run in the enclosure for want of a dynamic linker.
func encloseStatic() error {
	if dynamic() {
		return nil
	}
	return enclose()
}

func dynamic() bool {
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		return true
	}
	defer f.Close()
	return slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// programAway is how many KiB of the program are mapped and not in memory, -1 when it is not known.
func programAway() (kib int) {
	b, err := os.ReadFile("/proc/self/smaps")
	ours, size := false, 0
	for line := range strings.Lines(string(b)) {
		switch f := strings.Fields(line); {
		case len(f) > 4 && strings.Contains(f[0], "-"):
			ours = len(f) > 5 && strings.HasPrefix(f[5], "/memfd:"+binaryName)
		case ours && f[0] == "Size:":
			size, _ = strconv.Atoi(f[1])
			kib += size
		case ours && f[0] == "Rss:":
			there, _ := strconv.Atoi(f[1])
			kib -= there
		}
	}
	if err != nil || size == 0 {
		return -1
	}
	return kib
}

type scripted struct {
	Lives int      `json:"lives"`
	Seen  []string `json:"seen"`
}

// scriptedWorker dies twice, each time in another way, and tells in its third life what it has found in each.
func scriptedWorker() error {
	p, err := Join()
	if err != nil {
		return err
	}
	if p.Config.Line.VDisk == orphan {
		return orphanedWorker(p)
	}
	var s scripted
	if p.State != nil {
		if err := json.Unmarshal(p.State, &s); err != nil {
			return err
		}
	}
	s.Lives++
	written := make([]byte, 8)
	n, _ := p.Data.ReadAt(written, 0)
	e, err := p.Next(context.Background()) // PID 1 tells of one stage, once
	if err != nil {
		return err
	}
	names, err := os.ReadDir("/")
	if err != nil {
		return err
	}
	var root []string
	for _, n := range names {
		root = append(root, n.Name())
	}
	if dynamic() {
		root = []string{"any"}
	}
	s.Seen = append(s.Seen, fmt.Sprintf("%s vdisk=%s data=%q stage=%s at=%v root=%s away=%d", os.Args[0], p.Config.Line.VDisk,
		written[:n], e.Stage, e.At, strings.Join(root, ","), programAway()))
	if _, err := p.Data.WriteAt(fmt.Appendf(nil, "life %d", s.Lives), 0); err != nil {
		return err
	}
	if err := p.Keep(s); err != nil {
		return err
	}
	switch s.Lives {
	case 1:
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case 2:
		panic("the second life")
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM) // which systemd sends to all; it is ignored
	p.Ready(Disk{Device: strings.Join(s.Seen, "\n")})
	_, err = p.Next(context.Background())
	return err // the keeper has gone
}

// start starts a keeper that ends with the test.
func start(t *testing.T, initramfs *os.File) *Keeper {
	t.Helper()
	k, err := Start(Config{Line: bootline.Line{VDisk: "debian@3"}, Program: "test"}, initramfs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(k.PID(), syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		var status syscall.WaitStatus
		_, _ = syscall.Wait4(k.PID(), &status, 0, nil)
		_ = os.Remove(enclosure)
		_ = os.Remove(omitFile)
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// A worker that dies, however it does, is followed by one that has all that it kept: state, memory, and what PID 1 has said.
// Why it died is told.
func TestANewWorkerHasWhatTheLastOneKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a mount namespace of its own needs root")
	}
	k := start(t, nil)
	if err := k.Tell(InitRuns, time.Second); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var told []string
	root := "dev,etc,proc,run,sys,tmp"
	if dynamic() {
		root = "any"
	}
	for {
		e, err := k.Next(ctx)
		if err != nil {
			t.Fatalf("%v after\n%s", err, strings.Join(told, "\n"))
		}
		if e.At <= 0 {
			t.Errorf("%+v has no time", e)
		}
		told = append(told, string(e.Kind)+": "+e.Text)
		if e.Kind != Ready {
			continue
		}
		lives := strings.Split(e.Disk.Device, "\n")
		for i, data := range []string{`""`, `"life 1"`, `"life 2"`} {
			want := "@spate-worker vdisk=debian@3 data=" + data + " stage=init at=1s root=" + root + " away=0"
			if i >= len(lives) || lives[i] != want {
				t.Errorf("life %d is not %q:\n%s", i+1, want, e.Disk.Device)
			}
		}
		break
	}
	for _, want := range []string{"problem: worker: signal: killed", "problem: worker: panic: the second life", "problem: worker: exit status 2"} {
		if !slices.ContainsFunc(told, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("nothing begins with %q:\n%s", want, strings.Join(told, "\n"))
		}
	}
}

// What is no message is told and passed over; the next one counts.
func TestABadMessageIsPassedOver(t *testing.T) {
	mine, theirs, err := newPair()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	other, err := newLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{init: other, system: true}
	heard := make(chan struct{})
	go func() { k.hear(mine); close(heard) }() // ends when other is closed; waited for below
	for _, s := range []string{"{", `{"event":7}`, "\xff\x00", `{"state":{"a":1}}`, `{"event":{"kind":"stage","stage":"disk"}}`} {
		if _, err := other.conn.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.send(message{State: make(json.RawMessage, maxMessage)}); err == nil {
		t.Error("a message without bounds was sent")
	}
	other.Close()
	<-heard
	if string(k.state) != `{"a":1}` || len(k.stages) != 1 || k.stages[0].Stage != Attached {
		t.Errorf("%s %+v", k.state, k.stages)
	}
}

// A worker that dies before it has read what it was told has told its keeper something all the same: what it kept counts.
func TestTheLastWordsOfWhoDidNotListenAreHeard(t *testing.T) {
	mine, theirs, err := newPair()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	other, err := newLink(theirs)
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{init: other, system: true}
	if err := mine.send(message{Event: &Event{Kind: Reached, Stage: RootMounted}}); err != nil {
		t.Fatal(err)
	}
	if err := other.send(message{State: json.RawMessage(`{"a":1}`)}); err != nil {
		t.Fatal(err)
	}
	other.Close() // with what was sent to it unread
	if k.hear(mine); string(k.state) != `{"a":1}` {
		t.Errorf("the state is %q", k.state)
	}
}

// A new program is taken once; one that dies again and again gives way to the one before it, one that lives long stays.
func TestAnUpgradeThatDoesNotWorkIsTakenBack(t *testing.T) {
	newFile := func(content string) string {
		path := filepath.Join(t.TempDir(), "upgrade")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	runs := func(k *keeper) string {
		b := make([]byte, 16)
		n, _ := k.binary.ReadAt(b, 0)
		return string(b[:n])
	}
	old, err := copyBinary(newFile("old"))
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{system: true, binary: old}
	path := newFile("bad")
	k.upgrade(path)
	if _, err := os.Stat(path); runs(k) != "bad" || err == nil {
		t.Errorf("runs %q; the file: %v", runs(k), err)
	}
	k.upgrade(path) // there is none
	k.upgrade(newFile("worse"))
	if k.dropUpgrade(); runs(k) != "old" || k.proven != nil {
		t.Errorf("runs %q", runs(k))
	}
	k.upgrade(newFile("good"))
	k.keepUpgrade()
	if k.dropUpgrade(); runs(k) != "good" {
		t.Errorf("runs %q", runs(k))
	}
	k.upgrade(t.TempDir())
	if runs(k) != "good" || k.proven != nil {
		t.Errorf("a folder was run: %q", runs(k))
	}
	if err := k.binary.Close(); err != nil {
		t.Error(err)
	}
}

// A worker is run from a program that has proven itself, whose descriptor has another number than the first one's had: fork in package
// syscall uses numbers behind the highest that the child is given, whatever is open there.
func TestAWorkerIsStartedFromAProvenUpgrade(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a worker's memory is locked, which needs root")
	}
	k := &keeper{system: true, stages: []Event{{Kind: Reached, Stage: InitRuns, At: time.Second}}}
	var err error
	if k.binary, err = copyBinary("/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	if k.data, err = newMemory("write cache"); err != nil {
		t.Fatal(err)
	}
	if k.table, err = newMemory("write cache map"); err != nil {
		t.Fatal(err)
	}
	for turn := range 3 {
		k.state = nil
		if got := k.work(); got != "signal: killed" {
			t.Fatalf("worker %d: %s", turn, got)
		}
		path := filepath.Join(t.TempDir(), "upgrade")
		if err := copyFile(path, "/proc/self/exe"); err != nil {
			t.Fatal(err)
		}
		k.upgrade(path)
		if k.proven == nil {
			t.Fatal("no upgrade")
		}
		k.keepUpgrade()
	}
	_ = os.Remove(omitFile)
	if err := errors.Join(k.binary.Close(), k.data.Close(), k.table.Close()); err != nil {
		t.Error(err)
	}
}

// A keeper that takes nothing, because its console takes nothing, costs the worker lines and no time: who speaks may hold what
// the disk needs.
func TestALineThatNobodyTakesIsNotWaitedFor(t *testing.T) {
	mine, theirs, err := newPair()
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	defer theirs.Close()
	p := &Post{}
	p.link.Store(mine)
	full := time.Now().Add(tellPatience)
	for range 5000 {
		p.Say(Line, strings.Repeat("all servers are silent ", 10))
	}
	if time.Now().After(full) {
		t.Error("lines were waited for")
	}
	if err := mine.sendNow(message{Event: &Event{Kind: Line, Text: strings.Repeat("x", 1<<10)}}); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("the link is not full: %v", err)
	}
}

// A new program that lives and does not take the disk up is ended; one that has taken it up is not.
func TestAnUpgradeThatDoesNothingIsEnded(t *testing.T) {
	for _, stages := range [][]Stage{nil, {NetworkUp, LoggedIn}, {LoggedIn, Attached}} {
		mine, theirs, err := newPair()
		if err != nil {
			t.Fatal(err)
		}
		worker, err := newLink(theirs)
		if err != nil {
			t.Fatal(err)
		}
		k := &keeper{system: true, serves: true} // the worker before it has
		if err := k.welcome(mine); err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			if err := worker.send(message{Event: &Event{Kind: Reached, Stage: s}}); err != nil {
				t.Fatal(err)
			}
		}
		worker.Close()
		k.hear(mine)
		ended := false
		k.judge(func() error { ended = true; return nil })
		if want := !slices.Contains(stages, Attached); ended != want {
			t.Errorf("%v: ended is not %v", stages, want)
		}
		if err := mine.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An upgrade kills a worker only when its keeper is there to start the next one.
func TestAWorkerWithoutAKeeperIsLeftAlone(t *testing.T) {
	proc := t.TempDir()
	for name, content := range map[string]string{
		"7/status": "Name:\tspate-target\nPid:\t7\nPPid:\t5\n", "5/cmdline": keeperName + "\x00keeper\x00keep\x00",
		"8/status": "Name:\tspate-target\nPid:\t8\nPPid:\t1\n", "1/cmdline": "/sbin/init\x00",
		"10/status": "Name:\tspate-target\nPid:\t10\nPPid:\t1\n", "11/status": "Name:\tspate-target\nPid:\t11\nPPid:\t10\n",
		"11/cmdline": keeperName + "\x00keeper\x00heir\x00",
	} {
		if err := os.MkdirAll(filepath.Join(proc, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for pid, want := range map[int]bool{7: true, 8: false, 9: false, 10: true} { // 9 is not there, 10 has started its keeper itself
		if hasKeeper(proc, pid) != want {
			t.Errorf("worker %d has a keeper is not %v", pid, want)
		}
	}
}

// sysvinit reads one number a line.
func TestSysvinitIsToldWhomToSpare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "omit", "spate")
	spare(file, 17, 4711)
	if b, err := os.ReadFile(file); err != nil || string(b) != "17\n4711\n" {
		t.Errorf("%q %v", b, err)
	}
}
