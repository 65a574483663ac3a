package bootimage

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// modinfo is what a module says of itself.
type modinfo struct {
	depends  []string // modules, as modules.Name writes them
	before   []string // softdep pre: modules or aliases
	after    []string // softdep post
	aliases  []string
	firmware []string
	kernel   string // the version that it was made for
	signed   bool
}

// signature is how a signed module ends.
const signature = "~Module signature appended~\n"

var errModule = errors.New("not a kernel module")

// readModinfo reads the section .modinfo of a module.
func readModinfo(module []byte) (modinfo, error) {
	m := modinfo{signed: bytes.HasSuffix(module, []byte(signature))}
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return m, fmt.Errorf("%w: %w", errModule, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return m, fmt.Errorf("%w: it has no section .modinfo", errModule)
	}
	if section.Flags&elf.SHF_COMPRESSED != 0 || section.Size > maxModinfo {
		return m, fmt.Errorf("%w: its section .modinfo has %d bytes, or is compressed", errModule, section.Size)
	}
	info, err := section.Data()
	if err != nil {
		return m, fmt.Errorf("%w: .modinfo: %w", errModule, err)
	}
	for field := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		m.take(key, value)
	}
	return m, nil
}

func (m *modinfo) take(key, value string) {
	switch key {
	case "depends":
		for d := range strings.SplitSeq(value, ",") {
			if d != "" {
				m.depends = append(m.depends, modules.Name(d))
			}
		}
	case "softdep":
		list := &m.before
		for w := range strings.FieldsSeq(value) {
			switch w {
			case "pre:":
				list = &m.before
			case "post:":
				list = &m.after
			default:
				*list = append(*list, w)
			}
		}
	case "alias":
		if value != "" && !strings.ContainsAny(value, " \t\r\n") {
			m.aliases = append(m.aliases, value)
		}
	case "firmware":
		m.firmware = append(m.firmware, value)
	case "vermagic":
		m.kernel, _, _ = strings.Cut(value, " ")
	}
}
