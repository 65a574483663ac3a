package files

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/ipxe"
	"github.com/spate-project/spate/bootsvc/parts"
)

// Kind says what a name stands for.
type Kind int

// What a name can stand for.
const (
	Loader Kind = iota + 1
	AnyScript
	Script
	AnyGRUB
	GRUB
	BootFile
)

// Name is a name that was parsed.
type Name struct {
	Kind Kind
	// Loader is the name of a loader.
	Loader string
	// MAC is the machine that asks, as far as the name says; Known tells whether it does.
	MAC   bootsvc.MAC
	Known bool
	// VDisk, Version, Content and File are those of a boot file; Content may be empty.
	VDisk   string
	Version uint32
	Content string
	File    bootsvc.BootFile
	// Choice is the VDISK@VERSION that was chosen in a menu before.
	Choice string
	// Arch and UUID are what iPXE says of the machine; ArchUnknown and empty when it does not.
	Arch bootsvc.Arch
	UUID string
	// Card is the one that asks for a boot image; the zero value when that is not known for sure.
	Card parts.Card
}

// ErrName says that nothing has such a name.
var ErrName = errors.New("no such file")

const configuration = ".cfg"

// Parse takes a name apart. Everything that does not stand in the table of this package is ErrName.
func Parse(s string) (Name, error) {
	n := Name{Arch: bootsvc.ArchUnknown}
	if len(s) > MaxName {
		return n, ErrName
	}
	path, query, asked := strings.Cut(s, "?")
	path = strings.TrimPrefix(path, "/")
	if !n.path(path) || asked && !n.query(query) {
		return Name{Arch: bootsvc.ArchUnknown}, ErrName
	}
	return n, nil
}

// escapes are the only ones of a URL that are read: iPXE of 2019 writes '@' so, and others may write ':' so.
var escapes = strings.NewReplacer("%40", "@", "%3a", ":", "%3A", ":")

// ParseURL is Parse for the path and query of a URL as they stand in a request. A name with any other percent-encoding does
// not exist.
func ParseURL(s string) (Name, error) {
	if len(s) > 3*MaxName {
		return Name{Arch: bootsvc.ArchUnknown}, ErrName
	}
	return Parse(escapes.Replace(s))
}

func (n *Name) path(s string) bool {
	switch {
	case ipxe.IsLoader(s):
		n.Kind, n.Loader = Loader, s
		return true
	case s == bootsvc.FileScript:
		n.Kind = AnyScript
		return true
	case s == bootsvc.FolderGRUB+"grub.cfg":
		n.Kind = AnyGRUB
		return true
	}
	if mac, ok := strings.CutPrefix(s, bootsvc.FolderScript); ok {
		n.Kind = Script
		return n.machine(mac)
	}
	if file, ok := strings.CutPrefix(s, bootsvc.FolderGRUB); ok {
		mac, ok := strings.CutSuffix(file, configuration)
		n.Kind = GRUB
		return ok && n.machine(mac)
	}
	if file, ok := strings.CutPrefix(s, bootsvc.FolderBoot); ok {
		n.Kind = BootFile
		return n.boot(file)
	}
	return false
}

// boot parses VDISK@VERSION/CONTENT/kernel, and VDISK@VERSION/kernel.
func (n *Name) boot(s string) (ok bool) {
	label, file, _ := strings.Cut(s, "/")
	if content, rest, more := strings.Cut(file, "/"); more {
		if len(content) != bootsvc.ContentDigits || strings.Trim(content, "0123456789abcdef") != "" {
			return false
		}
		n.Content, file = content, rest
	}
	n.File = bootsvc.BootFile(file)
	n.VDisk, n.Version, ok = parseLabel(label)
	return ok && (n.File == bootsvc.Kernel || n.File == bootsvc.Image)
}

// parseLabel parses VDISK@VERSION. Each version has one label only.
func parseLabel(s string) (vdisk string, version uint32, ok bool) {
	vdisk, digits, _ := strings.Cut(s, "@")
	number, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || number == math.MaxUint32 || strconv.FormatUint(number, 10) != digits || !plainVDisk(vdisk) {
		return "", 0, false
	}
	return vdisk, uint32(number), true
}

// plainVDisk tells whether s can be the name of a vDisk, as package vdisk has it: letters, digits, '.', '_' and '-', the
// first one a letter or digit.
func plainVDisk(s string) bool {
	if s == "" || len(s) > maxVDisk {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

func (n *Name) machine(s string) bool {
	mac, err := bootsvc.ParseMAC(s)
	n.MAC, n.Known = mac, err == nil
	return n.Known
}

// query reads key=value pairs. Keys that it does not know are ignored: what iPXE is asked to send may grow.
func (n *Name) query(s string) bool {
	arch, platform := "", ""
	for pair := range strings.SplitSeq(s, "&") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "arch":
			arch = value
		case "platform":
			platform = value
		case "uuid":
			if plainUUID(value) {
				n.UUID = value
			}
		case "choice":
			if _, _, ok := parseLabel(value); ok && n.Kind == Script {
				n.Choice = value
			}
		case "card":
			if n.Kind == BootFile && n.File == bootsvc.Image {
				n.Card, _ = parts.ParseBusID(value) // anything else is no card
			}
		case "mac":
			if n.Kind == BootFile && !n.machine(value) {
				return false
			}
		}
	}
	n.Arch = architecture(arch, platform)
	return true
}

// architecture is the one of iPXE's ${buildarch} and ${platform}.
func architecture(arch, platform string) bootsvc.Arch {
	switch {
	case platform == "pcbios":
		return bootsvc.ArchBIOS
	case platform != "efi":
		return bootsvc.ArchUnknown
	}
	switch arch {
	case "x86_64":
		return bootsvc.ArchX64
	case "i386":
		return bootsvc.ArchIA32
	case "arm64":
		return bootsvc.ArchARM64
	case "arm32":
		return bootsvc.ArchARM32
	}
	return bootsvc.ArchUnknown
}

func plainUUID(s string) bool {
	return len(s) <= maxUUID && strings.Trim(s, "0123456789abcdefABCDEF-") == ""
}
