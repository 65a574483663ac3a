package keeper

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory of the write cache stays where it is though nobody has it locked, where the kernel can do that; what is given back of it is
// gone, and it can be larger than the machine.
func TestKeptMemoryIsNotSwapped(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	stays := true
	if f, err := newUnswapped("test"); err == nil {
		f.Close()
	} else if stays = false; !errors.Is(err, unix.EINVAL) { // which kernels before 6.4 say of noswap
		t.Fatal(err)
	}
	f, err := newMemory("test")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size, used = 1 << 40, 1 << 20
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, used, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	page := os.Getpagesize()
	for i := 0; i < used; i += page {
		b[i] = 1
	}
	if stays {
		const unevictable = 1 << 18 // KPF_UNEVICTABLE of include/uapi/linux/kernel-page-flags.h
		frame := word(t, "/proc/self/pagemap", int64(uintptr(unsafe.Pointer(&b[0]))/uintptr(page))) & (1<<55 - 1)
		if flags := word(t, "/proc/kpageflags", int64(frame)); flags&unevictable == 0 {
			t.Errorf("the memory may be swapped: %#x", flags)
		}
	}
	var st unix.Stat_t
	if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, used); err != nil {
		t.Error(err)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Blocks != 0 || b[0] != 0 {
		t.Errorf("what was given back takes up %d blocks, with %d in them (%v)", st.Blocks, b[0], err)
	}
}

// word reads a file of words.
func word(t *testing.T, name string, n int64) uint64 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Skip("needs root, and a kernel that shows its pages: ", err)
	}
	defer f.Close()
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, 8*n); err != nil && err != io.EOF {
		t.Skip("needs root, and a kernel that shows its pages: ", err)
	}
	return binary.NativeEndian.Uint64(b)
}
