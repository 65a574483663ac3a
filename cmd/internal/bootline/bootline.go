package bootline

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Root says who keeps the writes of the root file system.
type Root string

// The ways of a root file system that can be written.
const (
	RootBlock   Root = "block"
	RootOverlay Root = "overlay"
)

// Line is a command line, as far as Spate reads it.
type Line struct {
	Servers []string // HOST or HOST:PORT
	FarmKey string
	VDisk   string // NAME or NAME@VERSION
	// Content is how the root hash of the version begins, in hex; empty when the line does not say.
	Content string
	// CacheBytes is the size of the write cache; when 0, CachePercent of the machine's memory.
	CacheBytes   int64
	CachePercent int
	Root         Root
	Shell        bool
	DeviceKey    string
	// Card is the MAC address of the card that PXE used, nil when the line does not say.
	Card net.HardwareAddr

	// Device, Type and Flags are root=, rootfstype= and rootflags=; ReadOnly is ro; Init is init=.
	Device, Type, Flags string
	ReadOnly            bool
	Init                string
}

const (
	standardPercent = 50
	standardDevice  = "/dev/nbd0"
	standardInit    = "/sbin/init"
	ethernet        = "01-"
	hashSize        = 32 // bytes of a root
)

// String writes the words of l that are not the standard ones.
func (l Line) String() string {
	var words []string
	add := func(name, value string) {
		if value != "" {
			words = append(words, name+"="+value)
		}
	}
	add("spate.server", strings.Join(l.Servers, ","))
	add("spate.farm-key", l.FarmKey)
	add("spate.vdisk", l.VDisk)
	add("spate.content", l.Content)
	switch {
	case l.CacheBytes > 0:
		add("spate.write-cache", "ram:"+size(l.CacheBytes))
	case l.CachePercent > 0 && l.CachePercent != standardPercent:
		add("spate.write-cache", fmt.Sprintf("ram:%d%%", l.CachePercent))
	}
	if l.Root != RootBlock {
		add("spate.root", string(l.Root))
	}
	if l.Shell {
		add("spate.shell", "1")
	}
	add("spate.device-key", l.DeviceKey)
	if l.Card != nil {
		add("BOOTIF", ethernet+strings.ReplaceAll(l.Card.String(), ":", "-"))
	}
	if l.Device != standardDevice {
		add("root", l.Device)
	}
	add("rootfstype", l.Type)
	add("rootflags", l.Flags)
	if l.ReadOnly {
		words = append(words, "ro")
	}
	if l.Init != standardInit {
		add("init", l.Init)
	}
	return strings.Join(words, " ")
}

// size writes bytes in the largest unit that holds them exactly.
func size(n int64) string {
	for _, u := range []struct {
		bits int
		name string
	}{{30, "G"}, {20, "M"}, {10, "K"}} {
		if n%(1<<u.bits) == 0 {
			return strconv.FormatInt(n>>u.bits, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Parse reads a command line. Mistakes are sentences for the person before the machine: a value that cannot be used is
// named, and the standard one taken in its place.
func Parse(text string) (l Line, mistakes []string) {
	l = Line{CachePercent: standardPercent, Root: RootBlock, Device: standardDevice, Init: standardInit}
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		if bad := l.take(name, value); bad != "" {
			mistakes = append(mistakes, fmt.Sprintf("%.80q on the kernel command line: %s", word, bad))
		}
	}
	for _, need := range []struct{ name, value string }{
		{"spate.server", strings.Join(l.Servers, "")}, {"spate.farm-key", l.FarmKey}, {"spate.vdisk", l.VDisk},
	} {
		if need.value == "" {
			mistakes = append(mistakes, need.name+"= is missing on the kernel command line: the boot script of the farm's servers has it")
		}
	}
	return l, mistakes
}

// take takes one word and says what is wrong with it.
func (l *Line) take(name, value string) (bad string) {
	switch name {
	case "spate.server":
		for s := range strings.SplitSeq(value, ",") {
			if !server(s) {
				return fmt.Sprintf("%.80q is no server; write ADDRESS or ADDRESS:PORT", s)
			}
			l.Servers = append(l.Servers, s)
		}
	case "spate.farm-key":
		l.FarmKey = value
	case "spate.vdisk":
		l.VDisk = value
	case "spate.content":
		if value == "" || len(value) > 2*hashSize || strings.Trim(value, "0123456789abcdef") != "" {
			return "write the first hexadecimal digits of the version's root, or leave it out"
		}
		l.Content = value
	case "spate.write-cache":
		return l.cache(value)
	case "spate.root":
		if r := Root(value); r == RootBlock || r == RootOverlay {
			l.Root = r
			return ""
		}
		return "it is block or overlay"
	case "spate.shell":
		l.Shell = value == "1"
	case "spate.device-key":
		l.DeviceKey = value
	case "BOOTIF":
		mac, err := net.ParseMAC(strings.TrimPrefix(value, ethernet))
		if err != nil || len(mac) != 6 {
			return "write 01- and the MAC address of the card, with hyphens"
		}
		l.Card = mac
	case "root":
		l.Device = value
	case "rootfstype":
		l.Type = value
	case "rootflags":
		l.Flags = value
	case "ro", "rw":
		l.ReadOnly = name == "ro"
	case "init":
		if value == "" {
			return "name a program of the root file system, or leave it out"
		}
		l.Init = value
	}
	return ""
}

// server tells whether s is a host or an address with or without a port.
func server(s string) bool {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return true
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s != "" && !strings.ContainsAny(s, ":[]/")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && host != ""
}

func (l *Line) cache(value string) (bad string) {
	const wanted = "write ram:SIZE, such as ram:512M or ram:50%"
	text, ok := strings.CutPrefix(value, "ram:")
	if !ok {
		return wanted
	}
	if p, ok := strings.CutSuffix(text, "%"); ok {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 90 {
			return "a part of the memory is from 1% to 90%"
		}
		l.CachePercent, l.CacheBytes = n, 0
		return ""
	}
	shift := 0
	if i := strings.IndexAny(text, "KMG"); i >= 0 && i == len(text)-1 {
		shift = map[byte]int{'K': 10, 'M': 20, 'G': 30}[text[i]]
		text = text[:i]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > (1<<62)>>shift {
		return wanted
	}
	l.CacheBytes = n << shift
	return ""
}
