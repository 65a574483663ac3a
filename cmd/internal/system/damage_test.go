//go:build system

package system

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/nbd"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/testdisk"
	"github.com/spate-project/spate/vdisk"
)

// replicaFile is a server's copy of the vDisk.
func replicaFile(s *lab.Server) string { return filepath.Join(s.Store, vdisk.FileName(lab.VDisk, 0)) }

// flip changes one bit in the middle of where the object lies in a file.
func flip(t testing.TB, file string, level int, index int64) {
	t.Helper()
	v, err := vdisk.Open(file)
	ok(t, err)
	defer v.Close()
	stored := make([]byte, v.Shape().ChunkSize)
	n, _, err := v.ReadAnswer(stored, level, index, 1, 0)
	ok(t, err)
	all, err := os.ReadFile(file)
	ok(t, err)
	at := bytes.Index(all, stored[:n])
	if n == 0 || at < 0 || bytes.Contains(all[at+1:], stored[:n]) {
		t.Fatalf("object %d/%d does not lie in one place", level, index)
	}
	flipByte(t, file, int64(at+n/2))
}

func flipByte(t testing.TB, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	ok(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	ok(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], at)
	ok(t, err)
	ok(t, f.Sync())
}

// chunkAt is the number of the chunk that holds a byte of the disk.
func chunkAt(t testing.TB, file string, off int64) int64 {
	t.Helper()
	v, err := vdisk.Open(file)
	ok(t, err)
	defer v.Close()
	return off / int64(v.Shape().ChunkSize)
}

// random is a place on the disk that is not compressed, and so is stored once.
const random = 5 * 64 << 10

// fenced waits until a server's copy is listed with fenced objects, and tells how long that took.
func fenced(t testing.TB, f *lab.Farm, s *lab.Server, want int) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, fmt.Sprintf("%s lists %d fenced objects of %s", f.Servers[1].Name, want, s.Name), func() bool {
		return slices.ContainsFunc(copies(t, f.Servers[1]), func(c farm.ReplicaInfo) bool { return c.Server == s.Name && c.Fenced == want })
	})
	return time.Since(began)
}

// copies asks a server who holds what.
func copies(t testing.TB, asked *lab.Server) (all []farm.ReplicaInfo) {
	t.Helper()
	out, err := asked.Spate(t.Context(), "vdisk", "list", "--json")
	ok(t, err)
	var list farm.VDiskList
	ok(t, json.Unmarshal([]byte(out), &list))
	for _, d := range list.VDisks {
		all = append(all, d.Copies...)
	}
	return all
}

// shownWithin is the promise, one second, with room for a busy machine.
const shownWithin = 5 * time.Second

// A bit that flips in a chunk or an index page of the serving server's copy costs the reader nothing: it gets the right
// bytes from the other server, and the damage is known to the farm within a second.
func TestADamagedObjectIsReadFromTheOtherServer(t *testing.T) {
	for name, object := range map[string]struct {
		level int
		shift uint // how many chunks an object stands for, as a power of 64
	}{"chunk": {0, 0}, "index page": {1, 6}, "index page above": {2, 12}} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t, lab.Options{Servers: 2, Primary: 1})
			a := f.Servers[0]
			flip(t, replicaFile(a), object.level, chunkAt(t, replicaFile(a), random)>>object.shift)
			ok(t, f.Start(soon(t)))
			target := attach(t, f, "t1")
			if line := await(t, target.Process, " serves "); !strings.Contains(line, a.Name) {
				t.Fatalf("not served by the one with the damaged copy: %s", line)
			}
			d := open(t, target)
			buf := make([]byte, 64<<10)
			ok(t, d.ReadAt(t.Context(), buf, random))
			if n := new(testdisk.Checker).Wrong(buf, random); n > 0 {
				t.Fatalf("%d wrong blocks", n)
			}
			if took := fenced(t, f, a, 1); took > shownWithin {
				t.Errorf("shown after %s", took)
			} else {
				t.Logf("shown after %s", took.Round(time.Millisecond))
			}
			if line := logged(t, a.Process, "the replica is damaged"); !strings.Contains(line, "spate vdisk verify "+lab.VDisk+"@0") || !strings.Contains(line, a.Name) {
				t.Errorf("does not say where and what to do: %s", line)
			}
			if line := await(t, target.Process, a.Name+" has a damaged copy"); !strings.Contains(line, lab.VDisk+" version 0") {
				t.Errorf("does not say of what: %s", line)
			}
			checkDisk(t, target, diskSize)
			heal(t, f, a)
		})
	}
}

// heal replaces a server's copy by the other server's and expects that nothing is fenced any more, and that the server
// reads the new file.
func heal(t testing.TB, f *lab.Farm, s *lab.Server) {
	t.Helper()
	ok(t, lab.CopyTo(s.Store, replicaFile(f.Servers[1])))
	fenced(t, f, s, 0)
	f.Servers[1].Kill()
	target := attach(t, f, "healed", "--fail-after", "10s")
	checkDisk(t, target, diskSize)
}

// Scrub finds what nobody reads.
func TestScrubFindsWhatNobodyReads(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 2, Flags: []string{"--scrub-every", "1s", "--scrub-rate", "0"}})
	a := f.Servers[0]
	ok(t, f.Start(soon(t)))
	chunk := chunkAt(t, replicaFile(a), random)
	flip(t, replicaFile(a), 0, chunk)
	fenced(t, f, a, 1)
	if line := logged(t, a.Process, "the replica is damaged"); !strings.Contains(line, fmt.Sprintf("chunk %d", chunk)) {
		t.Errorf("not the chunk that is damaged: %s", line)
	}
	fenced(t, f, f.Servers[1], 0)
}

// A chunk of which there is no good copy anywhere is a bad sector: reading it fails with EIO, one line names vDisk,
// version, chunk and servers, and everything else goes on.
func TestAChunkWithoutAGoodCopyFailsLikeABadSector(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 2})
	chunk := chunkAt(t, replicaFile(f.Servers[0]), random)
	for _, s := range f.Servers {
		flip(t, replicaFile(s), 0, chunk)
	}
	ok(t, f.Start(soon(t)))
	target := attach(t, f, "t1")
	d := open(t, target)
	buf := make([]byte, 4096)
	if err := d.ReadAt(t.Context(), buf, random); !errors.Is(err, nbd.EIO) {
		t.Fatalf("reading what is nowhere good: %v", err)
	}
	line := await(t, target.Process, "read failed")
	for _, word := range []string{lab.VDisk, "version 0", "good copy", fmt.Sprintf("chunk %d", chunk), "lab-a", "lab-b"} {
		if !strings.Contains(line, word) {
			t.Errorf("%q is not in: %s", word, line)
		}
	}
	for off := int64(random + 1<<20); off < diskSize; off += 1 << 20 {
		ok(t, d.ReadAt(t.Context(), buf, off))
	}
	s, err := target.Status(soon(t))
	ok(t, err)
	if !s.Serving || s.Errors == 0 {
		t.Errorf("status: %+v", s)
	}
	// A good copy anywhere is enough.
	file, err := image()
	ok(t, err)
	ok(t, lab.CopyTo(f.Servers[1].Store, file))
	eventually(t, "the chunk is read again", func() bool { return d.ReadAt(t.Context(), buf, random) == nil })
	if n := new(testdisk.Checker).Wrong(buf, random); n > 0 {
		t.Error("and it is wrong")
	}
}

// One damaged slot of the seal is told and harmless; a file with both damaged is not served, and its targets are.
func TestADamagedSealIsToldAndItsTargetsAreServed(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 2, Primary: 1})
	a := f.Servers[0]
	info, err := os.Stat(replicaFile(a))
	ok(t, err)
	flipByte(t, replicaFile(a), info.Size()-4096+100)
	ok(t, f.Start(soon(t)))
	logged(t, a.Process, "seal slot 1")
	target := attach(t, f, "t1")
	if line := await(t, target.Process, " serves "); !strings.Contains(line, a.Name) {
		t.Errorf("one slot is enough, but: %s", line)
	}
	r := readAllTheTime(t, target)
	r.goesOn()
	flipByte(t, replicaFile(a), info.Size()-8192+100)
	logged(t, a.Process, "file not served")
	r.goesOn()
	second := attach(t, f, "t2")
	if line := await(t, second.Process, " serves "); !strings.Contains(line, f.Servers[1].Name) {
		t.Errorf("a server without a usable file got a target: %s", line)
	}
	checkDisk(t, second, diskSize)
}
