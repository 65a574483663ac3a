package vdisk

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/spate-project/spate/vdisk/tree"
)

var errStopped = errors.New("the machine stopped")

// doomed is files on a machine that stops after a number of operations: nothing is changed from then on, not
// even to clean up. With power set, what was not synced is lost as well: bytes of a file, and names.
type doomed struct {
	system
	mu    sync.Mutex
	left  int
	ended bool
	power bool
	torn  sync.Once

	unsynced map[string]bool   // files with bytes that are not durable
	renamed  map[string]string // final name to temporary name, while the folder is not synced
}

func (d *doomed) step() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		if d.ended {
			d.torn.Do(func() {}) // only what was under way is torn
		}
		d.ended = true
		return errStopped
	}
	d.left--
	return nil
}

func (d *doomed) create(dir, name string) (file, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.system.create(dir, name)
	return &doomedFile{f, d}, err
}

func (d *doomed) open(path string) (file, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.system.open(path)
	return &doomedFile{f, d}, err
}

func (d *doomed) publish(f file, name string) error {
	if err := d.step(); err != nil {
		return err
	}
	final := filepath.Join(filepath.Dir(f.Name()), name)
	err := d.system.publish(f.(*doomedFile).file, name)
	if err == nil {
		d.renamed[final] = f.Name()
		d.unsynced[final] = d.unsynced[f.Name()]
	}
	return err
}

func (d *doomed) syncDir(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	clear(d.renamed)
	return d.system.syncDir(dir)
}

func (d *doomed) remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.system.remove(path)
}

// crash applies what a power failure does.
func (d *doomed) crash(t *testing.T, lose bool) {
	t.Helper()
	for path, lost := range d.unsynced {
		if st, err := os.Stat(path); err == nil && lost && d.power {
			os.Truncate(path, st.Size()/2)
		}
	}
	for final, temp := range d.renamed {
		if lose && d.power {
			os.Rename(final, temp)
		}
	}
}

type doomedFile struct {
	file
	d *doomed
}

// The write during which the machine stops is torn.
func (f *doomedFile) Write(p []byte) (int, error) {
	if err := f.d.step(); err != nil {
		f.d.torn.Do(func() { f.file.Write(p[:len(p)/2]) })
		return 0, err
	}
	f.d.unsynced[f.Name()] = true
	return f.file.Write(p)
}

func (f *doomedFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.d.step(); err != nil {
		f.d.torn.Do(func() { f.file.WriteAt(p[:len(p)/2], off) })
		return 0, err
	}
	f.d.unsynced[f.Name()] = true
	return f.file.WriteAt(p, off)
}

func (f *doomedFile) Sync() error {
	if err := f.d.step(); err != nil {
		return err
	}
	f.d.unsynced[f.Name()] = false
	return f.file.Sync()
}

func (f *doomedFile) Close() error {
	if err := f.d.step(); err != nil {
		f.file.Close() // a stopped machine holds no files
		return err
	}
	return f.file.Close()
}

// A writer that is stopped after any of its operations leaves the whole version under its name, or nothing;
// with a power failure on top of it too. What else it leaves, the next import removes.
func TestAStoppedWriterLeavesTheWholeVersionOrNothing(t *testing.T) {
	disk := image(51, 12<<20)
	for _, power := range []bool{false, true} {
		whole := 0
		for n := 0; ; n++ {
			dir := t.TempDir()
			d := &doomed{left: n, power: power, unsynced: map[string]bool{}, renamed: map[string]string{}}
			o := options(16<<10, tree.CodecNone)
			o.files, o.Boot = d, bootFiles()
			err := func() error {
				w, err := Create(dir, o)
				if err != nil {
					return err
				}
				defer w.Abort()
				if _, err := w.Write(disk); err != nil {
					return err
				}
				_, err = w.Commit()
				return err
			}()
			if d.ended != (err != nil) && !errors.Is(err, errStopped) {
				t.Fatalf("stopped after %d operations: %v", n, err)
			}
			d.crash(t, n%2 == 0)
			removeLeftovers(dir)
			all, _ := os.ReadDir(dir)
			switch {
			case len(all) == 1 && all[0].Name() == "disk.0.spate":
				whole++
				v, err := Open(filepath.Join(dir, "disk.0.spate"))
				if err != nil {
					t.Fatalf("power %v, stopped after %d operations: %v", power, n, err)
				}
				if got, err := content(v); err != nil || !bytes.Equal(got, disk) {
					t.Fatalf("power %v, stopped after %d operations: content %v", power, n, err)
				}
				checkBootFiles(t, v, "")
				v.Close()
			case len(all) != 0:
				t.Fatalf("power %v, stopped after %d operations: %v is left", power, n, all)
			case !d.ended:
				t.Fatal("nothing stopped it and nothing is there")
			}
			if !d.ended {
				if n < 8 || whole < 2 {
					t.Fatalf("%d operations, %d whole files: the test does not look", n, whole)
				}
				break
			}
		}
	}
}

// Adopting that is stopped anywhere leaves a version with the old identity or the new one.
func TestAStoppedAdoptionLeavesAnIdentity(t *testing.T) {
	for n := 0; ; n++ {
		s := write(t, t.TempDir(), image(52, 100<<10), options(tree.MinChunk, tree.CodecZstd))
		d := &doomed{left: n, power: true, unsynced: map[string]bool{}, renamed: map[string]string{}}
		_, err := Adopt(context.Background(), s.Path, AdoptOptions{Timestamp: 77, files: d})
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatalf("stopped after %d operations: %v", n, err)
		}
		v := open(t, s.Path)
		if got := v.ID(); got.Root != s.ID.Root || got.Timestamp != 77 && got.Timestamp != s.ID.Timestamp {
			t.Fatalf("stopped after %d operations: identity %v", n, got)
		}
		if err == nil {
			if v.ID().Timestamp != 77 || len(v.Damage()) != 0 {
				t.Fatalf("adopted: %v, damage %v", v.ID(), v.Damage())
			}
			break
		}
	}
}
