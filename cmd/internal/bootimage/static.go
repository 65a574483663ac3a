package bootimage

import (
	"bytes"
	"debug/elf"
	"fmt"
)

// checkStatic refuses a program that cannot run where no libraries are.
func checkStatic(file string, program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("%s is not a program for Linux: it is no ELF file, or not a whole one", file)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs shared libraries, which a boot image does not have: build it with CGO_ENABLED=0, as make build does", file)
		}
	}
	return nil
}
