package keyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Programs that start at once agree on one key, and the file is the owner's alone.
func TestEveryoneGetsTheSameKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var all sync.WaitGroup
	keys := make([][Size]byte, 16)
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], _, err = ReadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, k := range keys {
		if k != keys[0] || k == [Size]byte{} {
			t.Fatal("keys differ")
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != Mode {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

// A file that is no key, or that others can read, is refused with what to do.
func TestBadKeyFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	good := Text(Generate()) + "\n"
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		says    string
	}{
		"empty": {"", 0o600, "is empty"},
		"short": {good[:20], 0o600, "spate keygen"},
		"junk":  {strings.Repeat("!", 43), 0o600, "does not hold a key"},
		"open":  {good, 0o644, "chmod 600"},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.content), c.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is not there; copy it") {
		t.Errorf("none: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Text([Size]byte{1, 2, 3}) + "\n"))
	f.Add([]byte("spate1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := Parse("x", b); err == nil {
			if again, err := Parse("x", []byte(Text(k))); err != nil || again != k {
				t.Fatal("no stable round trip")
			}
		}
	})
}
