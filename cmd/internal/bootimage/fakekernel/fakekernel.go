package fakekernel

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
)

// Signature is how a module ends that its packager signed.
const Signature = "~Module signature appended~\n"

// elfFile makes an ELF file with a section .modinfo. With interpreter it is a program that needs shared libraries.
func elfFile(modinfo string, interpreter bool) []byte {
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: 3, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	at := uint64(64)
	if interpreter {
		h.Phoff, h.Phnum = at, 1
		at += 56
	}
	h.Shoff = at + uint64(len(modinfo)+len(names))
	add := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) } // to memory
	add(h)
	if interpreter {
		add(elf.Prog64{Type: uint32(elf.PT_INTERP)})
	}
	b.WriteString(modinfo + names)
	add(elf.Section64{})
	add(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(modinfo))})
	add(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(modinfo)), Size: uint64(len(names))})
	return b.Bytes()
}

// Module makes a module for a kernel of this version, which says these things of itself, such as "depends=crc16".
func Module(version string, fields ...string) []byte {
	text := strings.Join(append(fields, "vermagic="+version+" SMP mod_unload "), "\x00") + "\x00"
	return append(elfFile(text, false), Signature...)
}

// Program makes a program that needs no shared libraries, or some.
func Program(libraries bool) []byte { return elfFile("", libraries) }

// Kernel makes a kernel, as far as boot loaders look.
func Kernel() []byte {
	b := make([]byte, 4096)
	copy(b[0x202:], "HdrS")
	return b
}

// Install puts a kernel with the modules nbd, overlay and ext4 into a root folder.
func Install(root, version string) error {
	files := map[string][]byte{"boot/vmlinuz-" + version: Kernel()}
	for _, m := range []string{"drivers/block/nbd", "fs/overlayfs/overlay", "fs/ext4/ext4"} {
		files["lib/modules/"+version+"/kernel/"+m+".ko"] = Module(version)
	}
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
