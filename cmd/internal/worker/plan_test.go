package worker

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/keeper"
	"github.com/spate-project/spate/stream/wire"
)

// The write cache is what the command line says or a part of the memory, and leaves something to the machine.
func TestTheWriteCacheLeavesMemoryForTheMachine(t *testing.T) {
	for _, c := range []struct {
		bytes   int64
		percent int
		total   int64
		want    int64
	}{
		{0, 50, 1000 << 20, 500 << 20},
		{64 << 20, 50, 1000 << 20, 64 << 20},
		{4 << 30, 50, 1000 << 20, 900 << 20},
		{0, 90, 1000 << 20, 900 << 20},
		{1, 50, 1000 << 20, blockdev.CacheBlock},
	} {
		if got := cacheSize(c.bytes, c.percent, c.total); got != c.want {
			t.Errorf("%d bytes or %d %% of %d MiB: %d, want %d", c.bytes, c.percent, c.total>>20, got, c.want)
		}
	}
	for _, total := range []int64{256 << 20, 1 << 30, 64 << 30} {
		o := caches(total)
		if all := o.CacheBytes + o.DecodedBytes + o.IndexBytes + o.FlightBytes; all > total/4 {
			t.Errorf("of %d MiB of memory the caches take up %d", total>>20, all>>20)
		}
	}
}

func TestTheMemoryOfTheMachineIsRead(t *testing.T) {
	for text, want := range map[string]int64{
		"MemFree:  1 kB\nMemTotal:         738576 kB\n": 738576 << 10,
		"": noMemory, "MemTotal: x kB": noMemory, "MemTotal: -1 kB": noMemory, "MemTotal: 99999999999999999 kB": noMemory,
	} {
		if got := parseMemory(strings.NewReader(text)); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// Servers are told of each stage in its own field, and of nothing else.
func TestEachStageHasItsPlaceInTheBootTimes(t *testing.T) {
	var boot wire.BootTimes
	for i, s := range []keeper.Stage{keeper.InitRuns, keeper.NetworkUp, keeper.LoggedIn, keeper.Attached, keeper.RootMounted, keeper.SystemRuns} {
		if !note(&boot, keeper.Event{Kind: keeper.Reached, Stage: s, At: time.Duration(i+1) * time.Second}) {
			t.Errorf("%s changes nothing", s)
		}
	}
	if want := (wire.BootTimes{ModulesMS: 1000, NetworkMS: 2000, LogInMS: 3000, AttachedMS: 4000, RootMS: 5000, InitMS: 6000}); !reflect.DeepEqual(boot, want) {
		t.Errorf("%+v", boot)
	}
	for _, e := range []keeper.Event{{Kind: keeper.Line, Stage: keeper.InitRuns}, {Kind: keeper.Reached, Stage: "another"},
		{Kind: keeper.Reached, Stage: keeper.LoggedIn, At: time.Hour}} { // by a later worker
		if note(&boot, e) {
			t.Errorf("%+v is a stage", e)
		}
	}
}

// Another root or another time stamp is another content.
func TestContentIsNamedByRootAndTimestamp(t *testing.T) {
	d := wire.Disk{Content: wire.Content{Root: [32]byte{31: 1}, Timestamp: 7}}
	root, stamp, renamed := d, d, d
	renamed.Name = "another name"
	root.Content.Root[31]++
	stamp.Content.Timestamp++
	if below(d) == below(root) || below(d) == below(stamp) || below(d) != below(renamed) {
		t.Error("contents are mixed up")
	}
}

// A disk that is not right any more fails in all it is asked.
func TestABrokenDiskFailsAlways(t *testing.T) {
	why := errors.New("why")
	var d blockdev.Device = broken{size: 4096, why: why}
	ctx := context.Background()
	for _, err := range []error{
		d.ReadAt(ctx, nil, 0), d.WriteAt(ctx, nil, 0), d.Trim(ctx, 0, 0), d.WriteZeroes(ctx, 0, 0), d.Flush(ctx),
	} {
		if !errors.Is(err, why) {
			t.Error(err)
		}
	}
}

// A keeper that dies takes no disk with it on which a machine runs; before that its worker makes room for another keeper's.
func TestAWorkerOutlivesItsKeeperOnceSomethingRunsFromItsDisk(t *testing.T) {
	for _, c := range []struct {
		name           string
		used, serves   bool // by a predecessor; the keeper dies after the device was taken
		goesOn, serve2 bool
	}{
		{"before anything runs", false, false, false, false},
		{"while it serves", false, true, true, false},
		{"a successor that logs in again", true, false, true, true},
		{"a successor that serves", true, true, true, true},
	} {
		var l lone
		if c.serves && !l.mayServe(c.used) {
			t.Errorf("%s: may not serve", c.name)
		}
		if l.is() || l.left(c.used) != c.goesOn || !l.is() {
			t.Errorf("%s: goes on is not %v", c.name, c.goesOn)
		}
		if l.mayServe(c.used) != c.serve2 {
			t.Errorf("%s: may take the device afterwards is not %v", c.name, c.serve2)
		}
		if l.found(); l.is() || !l.mayServe(c.used) {
			t.Errorf("%s: with another keeper it is alone still", c.name)
		}
	}
}

// Only what stays wrong fails a disk: a moment without memory must not become an I/O error.
func TestADiskFailsOnlyForWhatStaysWrong(t *testing.T) {
	for err, want := range map[error]bool{
		blockdev.ErrDamaged: true, blockdev.ErrOtherDisk: true, errOtherContent: true,
		syscall.ENOMEM: false, errors.New("it has format 2, this program knows format 1"): false,
	} {
		if lasting(fmt.Errorf("recover the write cache: %w", err)) != want {
			t.Errorf("%v: not %v", err, want)
		}
	}
}

// A kernel and the root file system under it come out of one version, or the machine does not go on.
func TestADiskOfAnotherContentThanTheKernelsIsRefused(t *testing.T) {
	d := wire.Disk{Name: "debian12", Number: 3, Content: wire.Content{Root: [32]byte{0xab, 0xcd}}}
	for _, good := range []string{"", "abcd", "abcd0000"} {
		if err := booted(good, d); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	err := booted("abce", d)
	if err == nil {
		t.Fatal("another content is taken")
	}
	for _, want := range []string{"debian12@3", "abcd…", "abce…", "switch this machine off and on"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %q: %v", want, err)
		}
	}
}

// A full write cache is a problem on the console, which says what it is, what waits, and what to do; that it is over is a line.
func TestAFullWriteCacheIsToldOnTheConsole(t *testing.T) {
	full := blockdev.Notice{Full: true, Waiting: 1, Used: 256 << 20, Max: 256 << 20}
	if noticeKind(full) != keeper.Problem {
		t.Error("a quiet console does not show it")
	}
	for _, part := range []string{"write cache is full (256 MiB)", "writes wait", "fstrim", "reset", "write_cache"} {
		if text := noticeText(full); !strings.Contains(text, part) {
			t.Errorf("%q is not in %q", part, text)
		}
	}
	over := blockdev.Notice{Used: 128 << 20, Max: 256 << 20}
	if text := noticeText(over); noticeKind(over) != keeper.Line || !strings.Contains(text, "128 of 256 MiB") {
		t.Errorf("%v: %q", noticeKind(over), text)
	}
}
