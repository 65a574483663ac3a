package vdisk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what should take a second at most, on a machine that is busy.
const patience = 20 * time.Second

// running starts a store and gives the inventories as they change.
func running(t *testing.T, dir string, how ...func(*Store)) (*Store, func(what string, ok func(Inventory) bool) Inventory) {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	changes := make(chan Inventory, 100)
	s := NewStore("main", dir, StoreOptions{Changed: func(i Inventory) { changes <- i }})
	for _, set := range how {
		set(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}
		s.Close()
	})
	return s, func(what string, ok func(Inventory) bool) Inventory {
		t.Helper()
		limit := time.After(patience)
		for {
			select {
			case i := <-changes:
				if ok(i) {
					return i
				}
			case <-limit:
				t.Fatalf("%s: not seen; the store has %+v", what, s.Inventory())
			}
		}
	}
}

func holds(n int) func(Inventory) bool {
	return func(i Inventory) bool { return i.Problem == "" && len(i.Replicas) == n }
}

// What appears in a store, changes there and goes is in the inventory; what is in use stays readable.
func TestInventoryFollowsTheFolder(t *testing.T) {
	dir := t.TempDir()
	s, wait := running(t, dir)
	wait("the empty folder", holds(0))
	disk := image(91, 1<<20)
	sum := write(t, dir, disk, options(tree.MinChunk, tree.CodecZstd))
	i := wait("a new version", holds(1))
	if i.Replicas[0].ID != sum.ID || i.Replicas[0].File != "disk.0.spate" || i.Store != "main" {
		t.Errorf("%+v", i)
	}
	v, err := s.Acquire("disk", 0)
	if err != nil {
		t.Fatal(err)
	}
	byID, err := s.AcquireID(sum.ID)
	if err != nil || byID != v {
		t.Errorf("by identity: %v", err)
	}
	byID.Close()
	if _, err := s.Acquire("disk", 1); !errors.Is(err, ErrNotHere) {
		t.Errorf("version 1: %v", err)
	}
	if _, err := Adopt(context.Background(), sum.Path, AdoptOptions{Timestamp: 99}); err != nil {
		t.Fatal(err)
	}
	wait("the adopted version", func(i Inventory) bool { return len(i.Replicas) == 1 && i.Replicas[0].ID.Timestamp == 99 })
	if v.ID() != sum.ID {
		t.Error("a version in use changed its identity")
	}
	if err := os.Remove(sum.Path); err != nil {
		t.Fatal(err)
	}
	wait("the removal", holds(0))
	if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("a removed version in use: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := v.data.ReadAt(make([]byte, 1), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its last user closed it, and it is open: %v", err)
	}
}

func TestAStoreThatVanishesIsReportedAndRecovers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, wait := running(t, dir)
	i := wait("the missing folder", func(i Inventory) bool { return i.Problem != "" })
	if !strings.Contains(i.Problem, "no such file") {
		t.Errorf("problem: %s", i.Problem)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wait("the new folder", holds(0))
	disk := image(92, 300<<10)
	write(t, dir, disk, options(tree.MinChunk, tree.CodecZstd))
	wait("a version", holds(1))
	v, err := s.Acquire("disk", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	wait("the folder gone", func(i Inventory) bool { return i.Problem != "" && len(i.Replicas) == 0 })
	if _, err := s.Acquire("disk", 0); !errors.Is(err, ErrNotHere) {
		t.Errorf("acquired from a folder that is gone: %v", err)
	}
	if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
		t.Errorf("a version in use: %v", err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	wait("the folder back", holds(1))
}

// What lies in a store and is no version is listed with the reason, or with what to do about it.
func TestBadFilesAndImagesAreListed(t *testing.T) {
	dir := t.TempDir()
	sum := write(t, dir, image(93, 100<<10), options(tree.MinChunk, tree.CodecZstd))
	good, _ := os.ReadFile(sum.Path)
	for name, b := range map[string][]byte{
		"other.3.spate": good, "cut.0.spate": good[:len(good)-1], "junk.0.spate": []byte("junk"), "noversion.spate": good,
		"disk one.img": image(1, 4096), "new.qcow2": []byte("QFI\xfb\x00\x00\x00\x03...."), "notes.txt": []byte("x"),
		".hidden.img": []byte("x"), ".disk.1.spate.0123.part": []byte("x"), "packed.img": []byte("\x1f\x8b packed"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.Mkdir(filepath.Join(dir, "folder.0.spate"), 0o700)
	inv, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var bad, images []string
	for _, b := range inv.Bad {
		bad = append(bad, b.File+": "+b.Reason)
	}
	for _, i := range inv.Images {
		images = append(images, fmt.Sprintf("%s %v %s", i.File, i.Format, strings.ReplaceAll(i.Hint(dir), dir, "DIR")))
	}
	wantBad := []string{"cut.0.spate: incomplete", "junk.0.spate: not a sealed vDisk",
		"noversion.spate: holds disk version 0; it must be named disk.0.spate", "other.3.spate: holds disk version 0; it must be"}
	wantImages := []string{"disk one.img raw spate vdisk import 'DIR/disk one.img' --into DIR",
		"new.qcow2 qcow2 spate vdisk import DIR/new.qcow2 --into DIR"}
	if len(inv.Replicas) != 1 || len(bad) != len(wantBad) || strings.Join(images, "|") != strings.Join(wantImages, "|") {
		t.Fatalf("replicas %v\nbad %q\nimages %q", inv.Replicas, bad, images)
	}
	for i := range bad {
		if !strings.HasPrefix(bad[i], wantBad[i]) {
			t.Errorf("bad: %q, want %q", bad[i], wantBad[i])
		}
	}
	if _, err := List(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there is listed")
	}
}

// A file that is copied into a store is bad until it is whole, and then good.
func TestAFileThatIsBeingCopiedBecomesGood(t *testing.T) {
	sum := write(t, t.TempDir(), image(94, 300<<10), options(tree.MinChunk, tree.CodecZstd))
	good, _ := os.ReadFile(sum.Path)
	dir := t.TempDir()
	_, wait := running(t, dir)
	wait("the empty folder", holds(0))
	f, err := os.Create(filepath.Join(dir, "disk.0.spate"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Write(good[:20000])
	i := wait("half a file", func(i Inventory) bool { return len(i.Bad) == 1 })
	if !strings.Contains(i.Bad[0].Reason, "still being copied") {
		t.Errorf("reason: %s", i.Bad[0].Reason)
	}
	f.Write(good[20000:])
	wait("the whole file", holds(1))
}

// A scrub finds what nobody has read, fences it, and the inventory shows it.
func TestScrubFindsWhatNobodyReads(t *testing.T) {
	dir := t.TempDir()
	sum := write(t, dir, image(95, 2<<20), options(tree.MinChunk, tree.CodecZstd))
	s := NewStore("main", dir, StoreOptions{})
	defer s.Close()
	s.Scan()
	v, err := s.Acquire("disk", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	r, err := s.Scrub(context.Background(), 0, nil)
	if err != nil || r.Bad != 0 || r.Bytes != sum.Stored {
		t.Fatalf("a sound one: %+v, %v", r, err)
	}
	all := parts(t, v)
	want := map[string]bool{}
	f, _ := os.OpenFile(sum.Path, os.O_RDWR, 0)
	defer f.Close()
	for i := range all {
		if p := all[len(all)-1-i]; i%40 == 0 && strings.HasPrefix(p.name, "chunk") {
			f.WriteAt([]byte("bad"), p.from+3)
			want[p.name] = true
		}
	}
	r, err = v.Scrub(context.Background(), 0, nil)
	if err != nil || r.Bad != int64(len(want)) {
		t.Errorf("%+v, want %d bad, error %v", r, len(want), err)
	}
	for _, d := range s.Inventory().Replicas[0].Damage {
		if !want[d.Part] || !d.Fenced {
			t.Errorf("damage: %+v", d)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := v.Scrub(ctx, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A scrub keeps to its rate: it takes the time that its bytes take, and no more.
func TestScrubKeepsItsRate(t *testing.T) {
	sum := write(t, t.TempDir(), image(99, 4<<20), options(tree.MinChunk, tree.CodecNone))
	v := open(t, sum.Path)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r, err := v.Scrub(context.Background(), 1<<20, nil)
		want := time.Duration(float64(r.Bytes) / (1 << 20) * float64(time.Second))
		if spent := time.Since(began); err != nil || r.Bytes != sum.Stored || spent > want || spent < want-200*time.Millisecond {
			t.Errorf("%d bytes in %v, want %v, error %v", r.Bytes, spent, want, err)
		}
	})
}

// texts makes a disk that every codec compresses.
func texts(size int) []byte {
	b := new(bytes.Buffer)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(b, "line %d of a flood of similar things\n", i*i)
	}
	return b.Bytes()[:size]
}

func TestAdoptTakesThePeersTimestampAndNothingElse(t *testing.T) {
	disk := texts(200 << 10)
	a := write(t, t.TempDir(), disk, options(tree.MinChunk, tree.CodecZstd))
	o := options(tree.MinChunk, tree.CodecZstd)
	o.Now = func() time.Time { return sealTime().Add(time.Hour) }
	b := write(t, t.TempDir(), disk, o)
	o.Codec = tree.CodecS2
	other := write(t, t.TempDir(), disk, o)
	facts := func(s *Summary) Facts { return open(t, s.Path).Facts() }
	if fa, fb := facts(a), facts(b); fa == fb || fa.Root != fb.Root {
		t.Errorf("two imports of one disk: %+v, %+v", fa, fb)
	}
	if _, err := Adopt(context.Background(), b.Path, AdoptOptions{Like: a.ID, Who: "admin@lab"}); err != nil {
		t.Fatal(err)
	}
	if fa, fb := facts(a), facts(b); fa != fb {
		t.Errorf("after adopting: %+v, %+v", fa, fb)
	}
	if i := open(t, b.Path).Info(); i.Who != "admin@lab" {
		t.Errorf("%+v", i)
	}
	same(t, b.Path, disk)
	if _, err := Adopt(context.Background(), other.Path, AdoptOptions{Like: a.ID}); !errors.Is(err, ErrOtherContent) {
		t.Errorf("another root: %v", err)
	}
}

// A damaged replica is not adopted; one with a damaged seal slot or header is, and is whole afterwards.
func TestAdoptRefusesDamageAndRepairsTheSeal(t *testing.T) {
	for name, want := range map[string]error{"chunk": ErrUnsound, "index": ErrUnsound, "header": nil, "seal slot 0": nil, "seal slot 1": nil} {
		sum := write(t, t.TempDir(), texts(200<<10), options(tree.MinChunk, tree.CodecZstd))
		v := open(t, sum.Path)
		for _, p := range parts(t, v) {
			if strings.HasPrefix(p.name, name) {
				f, _ := os.OpenFile(sum.Path, os.O_RDWR, 0)
				f.WriteAt([]byte("bad"), p.from+20)
				f.Close()
				break
			}
		}
		_, err := Adopt(context.Background(), sum.Path, AdoptOptions{Timestamp: 5})
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		after := open(t, sum.Path)
		if wantID := int64(5); want == nil && (after.ID().Timestamp != wantID || len(after.Damage()) != 0) {
			t.Errorf("%s: adopted as %v, damage %v", name, after.ID(), after.Damage())
		}
		if want != nil && after.ID() != sum.ID {
			t.Errorf("%s: a damaged replica got the identity %v", name, after.ID())
		}
	}
}
