package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file appears whole or not at all; what a read that was killed left behind is no hindrance to the next, and two that
// live do not write the same file.
func TestAFileAppearsWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "disk.raw")
	begin := func() *outFile {
		t.Helper()
		o, err := newOutFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	left := begin()
	_, _ = left.WriteString("more than the next one writes")
	if err := left.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := newOutFile(name); err == nil || !strings.Contains(err.Error(), "another spate-target read writes it now") {
		t.Errorf("two at once: %v", err)
	}
	left.file.Close() // as the system does when it was killed
	o := begin()
	_, _ = o.WriteString("disk")
	if _, err := os.Stat(name); err == nil {
		t.Error("there before it is whole")
	}
	if err := o.skip(3); err != nil {
		t.Fatal(err)
	}
	if err := o.finish(8); err != nil {
		t.Fatal(err)
	}
	o.abandon()
	begin().abandon()
	if b, err := os.ReadFile(name); err != nil || string(b) != "disk\x00\x00\x00\x00" {
		t.Errorf("%q, %v", b, err)
	}
	if all, err := os.ReadDir(dir); err != nil || len(all) != 1 {
		t.Errorf("left behind: %v, %v", all, err)
	}
	for _, bad := range []string{dir, "/dev/null", filepath.Join(dir, "none", "disk.raw")} {
		if _, err := newOutFile(bad); err == nil || !strings.Contains(err.Error(), bad) && !strings.Contains(err.Error(), "none") {
			t.Errorf("--out %s: %v", bad, err)
		}
	}
}
