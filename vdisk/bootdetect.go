package vdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// BootFileAt makes a source of the file at path, for a version's kernel or boot image. It looks at how the file begins: the
// error is a sentence that says what it is instead, and what to do.
func BootFileAt(kind BootKind, path string) (BootSource, error) {
	s := BootSource{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	err := func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return errors.New("is not a file")
		}
		s.Size = st.Size()
		head := make([]byte, min(s.Size, probeHead))
		if _, err := io.ReadFull(f, head); err != nil {
			return err
		}
		if s.Size == 0 || s.Size > kind.limit() {
			return fmt.Errorf("has %s; a %v has from one byte to %s", Bytes(s.Size), kind, Bytes(kind.limit()))
		}
		if kind == BootKernel {
			return kernelFault(head)
		}
		return imageFault(head)
	}()
	if err != nil {
		if _, text, found := strings.Cut(err.Error(), path+": "); found {
			err = errors.New(text) // the path is said already
		}
		return BootSource{}, fmt.Errorf("%v %s: %w", kind, path, err)
	}
	return s, nil
}

// has reports whether magic stands at an offset of head.
func has(head []byte, at int, magic string) bool {
	return len(head) >= at+len(magic) && string(head[at:at+len(magic)]) == magic
}

// isKernel reports whether a file that begins with head is a kernel that a boot loader can start: one with x86's or arm64's
// boot header, or an EFI program.
func isKernel(head []byte) bool {
	if has(head, 0x202, "HdrS") || has(head, 56, "ARM\x64") {
		return true
	}
	if !has(head, 0, "MZ") || len(head) < 64 {
		return false
	}
	pe := binary.LittleEndian.Uint32(head[60:])
	return pe <= probeHead && has(head, int(pe), "PE\x00\x00")
}

// imageMagics are how initramfs files begin that every Debian kernel unpacks.
var imageMagics = []string{
	"070701", "070702", "\x1f\x8b", "\x28\xb5\x2f\xfd", "\xfd7zXZ\x00", "\x02\x21\x4c\x18",
}

func isBootImage(head []byte) bool {
	for _, m := range imageMagics {
		if has(head, 0, m) {
			return true
		}
	}
	return false
}

// kernelFault says what a file that begins with head is instead of a kernel.
func kernelFault(head []byte) error {
	const want = "name one such as /boot/vmlinuz-6.1.0-18-amd64"
	switch {
	case isKernel(head):
		return nil
	case has(head, 0, "\x7fELF"):
		return errors.New("is an ELF file, which boot loaders do not start; " + want)
	case has(head, 0, "\x1f\x8b"), has(head, 0, "\x28\xb5\x2f\xfd"):
		return errors.New("is compressed: an initramfs (give it with --boot-image), or a kernel for arm64 that must be unpacked first; " + want)
	case isBootImage(head):
		return errors.New("is an initramfs and no kernel; give it with --boot-image, and " + want)
	}
	return errors.New("is no Linux kernel: it has neither the boot header of x86 nor that of arm64, and is no EFI program; " + want)
}

// imageFault says what a file that begins with head is instead of a boot image.
func imageFault(head []byte) error {
	switch {
	case isBootImage(head):
		return nil
	case isKernel(head):
		return errors.New("is a kernel and no boot image; give it with --kernel")
	case has(head, 0, "\x04\x22\x4d\x18"):
		return errors.New("is lz4 in a form that kernels do not unpack; pack it with lz4 -l")
	case bytes.HasPrefix(head, []byte("070707")), has(head, 0, "\xc7\x71"):
		return errors.New("is a cpio archive in a form that kernels do not unpack; make it with cpio -H newc")
	}
	return errors.New("is no initramfs: it is neither a cpio archive in newc format nor packed with gzip, zstd, xz or lz4; " +
		"spate bootimage build makes one")
}
