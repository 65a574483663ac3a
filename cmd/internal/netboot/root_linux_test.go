package netboot

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
	"github.com/spate-project/spate/cmd/internal/bootline"
)

func TestMountOptionsAreFlagsOrTheFileSystems(t *testing.T) {
	flags, data := mountFlags("noatime,ro,subvol=@,defaults,nodev,rw,,commit=60")
	if flags != unix.MS_NOATIME|unix.MS_NODEV || data != "subvol=@,commit=60" {
		t.Errorf("%x %q", flags, data)
	}
	// Reads are no writes, unless somebody wants them to be.
	for options, want := range map[string]uintptr{"": unix.MS_NOATIME, "nodev": unix.MS_NODEV | unix.MS_NOATIME, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME} {
		if flags, _ := mountFlags(options); flags != want {
			t.Errorf("%q: %x, not %x", options, flags, want)
		}
	}
}

// An init is looked for as the root itself would find it: a link to /lib means the root's.
func TestAnInitIsCheckedInsideTheRoot(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"sbin", "lib/systemd", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"lib/systemd/systemd": 0o755, "etc/passwd": 0o644} {
		if err := os.WriteFile(filepath.Join(root, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for to, from := range map[string]string{"sbin/init": "/lib/systemd/systemd", "sbin/escape": "/../../../../../bin/sh", "sbin/loop": "loop"} {
		if err := os.Symlink(from, filepath.Join(root, to)); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"/sbin/init": "", "/sbin/escape": "is not there", "/sbin/none": "is not there", "/etc/passwd": "is not executable", "/etc": "is a folder", "/sbin/loop": "cannot be opened",
	} {
		err := checkInit(root, name)
		if errors.Is(err, unix.ENOSYS) {
			t.Skip("this kernel has no openat2")
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestAShellIsAnInitOnlyWhereItIsAllowed(t *testing.T) {
	line := bootline.Line{Init: "/spate/init"}
	if got := candidates(line); got[0] != "/spate/init" || slices.Contains(got, "/bin/sh") {
		t.Error(got)
	}
	line.Shell, line.Init = true, "/sbin/init"
	if got := candidates(line); !slices.Equal(got, []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}) {
		t.Error(got)
	}
}

func TestACardWithoutADriverIsNamedWithWhatToDo(t *testing.T) {
	if got := orphan("0x8086", "0x15b8", "0000:00:1f.6", nil, &modules.List{Kernel: "6.1.0"}); !strings.Contains(got, "8086:15b8 in slot 0000:00:1f.6 has no driver in the boot image") {
		t.Error(got)
	}
	if got := orphan("0x14e4", "0x165f", "0000:02:00.0", []string{"tg3"}, &modules.List{First: true}); !strings.Contains(got, "driver tg3; it may need firmware") {
		t.Error(got)
	}
	// The driver of a second card was left out of the boot image on purpose.
	if got := orphan("0x15b3", "0x1017", "0000:02:00.0", nil, &modules.List{First: true}); got != "" {
		t.Error(got)
	}
}

func TestALineForTheConsoleCannotMoveTheCursor(t *testing.T) {
	if got, want := format(2130e6, "a\x1b[2Jb\nc"), "spate   2.1 s  a [2Jb c\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := format(0, strings.Repeat("x", 10*mostLine)); len(got) > mostLine+40 {
		t.Errorf("%d bytes", len(got))
	}
}
