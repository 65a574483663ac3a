package vdisk

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spate-project/spate/vdisk/tree"
)

// Bounds of what a version carries for booting, in bytes.
const (
	MaxKernel      = 256 << 20
	MaxBootImage   = 1 << 30
	MaxCommandLine = 4096
)

// BootKind says what a boot file is. The numbers are in files; they are only ever appended to.
type BootKind uint32

// The boot files of a version. Others, of later releases, are kept and skipped.
const (
	BootKernel      BootKind = 1
	BootImage       BootKind = 2 // an initramfs
	BootCommandLine BootKind = 3

	bootTable BootKind = 0 // the section's own table, in Damage

	// bootLevel is the level of boot files in Damage; their index is the kind.
	bootLevel = -1
)

// String names the file for people.
func (k BootKind) String() string {
	switch k {
	case BootKernel:
		return "kernel"
	case BootImage:
		return "boot image"
	case BootCommandLine:
		return "command line"
	case bootTable:
		return "list of boot files"
	}
	return fmt.Sprintf("boot file of kind %d", uint32(k))
}

// limit is how long a file of that kind can be, in bytes.
func (k BootKind) limit() int64 {
	switch k {
	case BootKernel:
		return MaxKernel
	case BootCommandLine:
		return MaxCommandLine
	default:
		return MaxBootImage
	}
}

// BootSource is a file to be stored in a version. The zero value means none.
type BootSource struct {
	Name string // for errors
	Size int64  // bytes; exactly as many must come
	Open func() (io.ReadCloser, error)
}

// BootFiles is what a version is to carry for booting. The zero value means nothing.
type BootFiles struct {
	Kernel, Image BootSource
	// CommandLine is the kernel's: printable ASCII, at most MaxCommandLine bytes.
	CommandLine string
}

// bootPart is one file of BootFiles.
type bootPart struct {
	kind   BootKind
	source BootSource
}

// parts lists the files that there are, by kind.
func (f *BootFiles) parts() []bootPart {
	var all []bootPart
	for _, p := range []bootPart{{BootKernel, f.Kernel}, {BootImage, f.Image}} {
		if p.source.Open != nil {
			all = append(all, p)
		}
	}
	if line := f.CommandLine; line != "" {
		all = append(all, bootPart{BootCommandLine, BootSource{Name: "the command line", Size: int64(len(line)), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(line)), nil
		}}})
	}
	return all
}

// size is how many bytes the section takes at most.
func (f *BootFiles) size() int64 {
	parts := f.parts()
	if len(parts) == 0 {
		return 0
	}
	n := int64(bootHead + len(parts)*bootEntrySize + 2*blockSize)
	for _, p := range parts {
		n += p.source.Size
	}
	return n
}

// check tells everything that is wrong with the files, before any is read.
func (f *BootFiles) check() error {
	var all []error
	for _, p := range f.parts() {
		switch limit := p.kind.limit(); {
		case p.kind == BootCommandLine:
			all = append(all, CheckCommandLine(f.CommandLine))
		case p.source.Size <= 0:
			all = append(all, fmt.Errorf("%v %s is empty", p.kind, p.source.Name))
		case p.source.Size > limit:
			all = append(all, fmt.Errorf("%v %s has %s and may have %s", p.kind, p.source.Name, Bytes(p.source.Size), Bytes(limit)))
		}
	}
	if (f.Image.Open != nil || f.CommandLine != "") && f.Kernel.Open == nil {
		all = append(all, errors.New("a boot image or a command line without a kernel cannot be booted; name the kernel, too"))
	}
	return errors.Join(all...)
}

// CheckCommandLine says what is wrong with a kernel command line: it must be printable ASCII, in one line.
func CheckCommandLine(line string) error {
	if len(line) > MaxCommandLine {
		return fmt.Errorf("the command line has %d bytes and may have %d", len(line), MaxCommandLine)
	}
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return fmt.Errorf("byte %d of the command line is %q: it must be printable ASCII, in one line", i, line[i])
		}
	}
	return nil
}

// BootFileInfo describes a boot file of a version. Size 0 means that there is none.
type BootFileInfo struct {
	Size int64 // bytes
	Hash tree.Hash
}

// BootInfo is what a version carries for booting.
type BootInfo struct {
	// Digest is that of all of it, zero when there is nothing; the version's root depends on it.
	Digest        tree.Hash
	Kernel, Image BootFileInfo
	CommandLine   string // verified
	Others        int    // files of kinds that this release does not know
	// Problem says which file is damaged and what to do; then nothing is booted from this replica. Empty: nothing is
	// known to be wrong.
	Problem string
}

// Any reports whether the version carries anything for booting.
func (b *BootInfo) Any() bool { return b.Digest != (tree.Hash{}) }

// BootError means that a boot file of this replica is damaged, or cannot be read, and that nothing is booted from it.
type BootError struct {
	Name    string
	Version uint32
	Path    string // of the replica
	Kind    BootKind
	Reason  string
}

// Error says which file of which version it is, why, and what to do.
func (e *BootError) Error() string {
	return fmt.Sprintf("%s version %d cannot be booted from here, its %v is damaged (%s): %s", e.Name, e.Version, e.Kind, e.Reason,
		Damage{Part: e.Kind.String(), Level: bootLevel, Fenced: true, Boot: true, Reason: e.Reason}.Remedy(e.Name, e.Version, e.Path))
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *BootError) Is(target error) bool { return target == ErrDamaged }

// ErrNoBootFile means that a version does not carry the boot file that was asked for.
var ErrNoBootFile = errors.New("carries no such file; import the disk again with --kernel and --boot-image, or make it with spate vdisk build")
