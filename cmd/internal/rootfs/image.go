package rootfs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// blockSize is that of the file systems: chunks and the write cache have multiples of it.
const blockSize = 4096

// Image is an image of a file system to make.
type Image struct {
	// Dir is the root folder, File the image to write.
	Dir, File string
	Type      string // one of FileSystems
	Bytes     int64  // size
	// Name is that of the vDisk: the file system's label is made of it, and its UUID.
	Name string
	// Kernel is the version that will mount it.
	Kernel string
}

// Problems says why such an image cannot be made.
func (i Image) Problems() (problems []string) {
	t, ok := fileSystems[i.Type]
	if !ok {
		return []string{fmt.Sprintf("%q: a root folder is made into %s", i.Type, strings.Join(FileSystems(), " or "))}
	}
	problems = missing(t.tool)
	if least := int64(leastImage); i.Bytes < least {
		problems = append(problems, fmt.Sprintf("%d bytes are too small for a system: at least %d MiB", i.Bytes, least>>20))
	}
	return problems
}

// leastImage is what an image must have; mkfs.btrfs wants some 110 MiB.
const leastImage = 128 << 20

// Fits says why so many bytes of files will not fit into an image of this size, or nothing.
func Fits(bytes, files, size int64) string {
	// Inodes of 256 bytes, one for 16 KiB; a journal of up to 64 MiB for sizes in question; folders and bitmaps.
	need := bytes + files*256 + bytes/50 + min(size/16, 128<<20)
	if need <= size {
		return ""
	}
	return fmt.Sprintf("%d files with %d MiB do not fit into %d MiB: take --size %dM or more", files, bytes>>20, size>>20, (need+need/8)>>20+1)
}

// Write makes the image.
func (i Image) Write(ctx context.Context, line func(string)) error {
	f, err := os.OpenFile(i.File, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(i.Bytes / blockSize * blockSize)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("image %s: %w", i.File, err)
	}
	t := fileSystems[i.Type]
	orphan := i.Type == "ext4" && before(i.Kernel, 5, 15) && knowsOrphan(ctx)
	return command{name: look(t.tool.Program), args: i.arguments(orphan), line: line}.run(ctx)
}

// knowsOrphan tells whether mke2fs makes the file of orphans, with which kernels before 5.15 mount the file system read-only.
func knowsOrphan(ctx context.Context) (knows bool) {
	c := command{name: look(fileSystems["ext4"].tool.Program), args: []string{"-V"}, line: func(line string) {
		if version, ok := strings.CutPrefix(line, "mke2fs "); ok {
			knows = !before(version, 1, 47)
		}
	}}
	return c.run(ctx) == nil && knows
}

// arguments are those of the program that makes the file system. orphan says that it is to make no file of orphans.
func (i Image) arguments(orphan bool) []string {
	id := uuid(i.Name)
	if i.Type == "btrfs" {
		return []string{"--quiet", "--label", label(i.Name, 255), "--uuid", id, "--rootdir", i.Dir, i.File}
	}
	args := []string{"-q", "-F", "-t", "ext4", "-b", strconv.Itoa(blockSize), "-m", "0", "-L", label(i.Name, 16), "-U", id,
		"-E", "lazy_itable_init=0,lazy_journal_init=0,hash_seed=" + id, "-d", i.Dir}
	if orphan {
		args = append(args, "-O", "^orphan_file")
	}
	return append(args, i.File)
}

// uuid makes a UUID of a name (RFC 9562, version 8).
func uuid(name string) string {
	h := sha256.Sum256([]byte("spate root file system\x00" + name))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// label is the begin of a name that a file system can hold.
func label(name string, most int) string { return name[:min(len(name), most)] }

// before tells whether a kernel's version is below major.minor. One that is none is not.
func before(version string, major, minor int) bool {
	var a, b int
	if n, err := fmt.Sscanf(version, "%d.%d", &a, &b); n != 2 || err != nil {
		return false
	}
	return a < major || a == major && b < minor
}
