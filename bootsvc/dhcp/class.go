package dhcp

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/spate-project/spate/bootsvc"
)

// class is the kind of program that asks.
type class int

const (
	classPlain class = iota // an operating system: it wants an address and loads nothing
	classPXE
	classHTTP
	classIPXE
)

// The vendor classes of firmware (option 60): RFC 4578 has the first, the UEFI specification section 24.7 the second.
const (
	vendorPXE  = "PXEClient"
	vendorHTTP = "HTTPClient"
)

// asker is who asks, as far as a packet tells.
type asker struct {
	bootsvc.Client
	class class
	// vendor is the vendor class as it came, bounded.
	vendor string
}

// boots tells whether the asker wants a file.
func (a asker) boots() bool { return a.class != classPlain }

// String says who asks: "UEFI x86-64 firmware (PXE)".
func (a asker) String() string {
	switch a.class {
	case classIPXE:
		return "iPXE on " + a.Arch.String()
	case classPXE:
		return a.Arch.String() + " firmware (PXE)"
	case classHTTP:
		return a.Arch.String() + " firmware (HTTP)"
	default:
		if a.vendor != "" {
			return fmt.Sprintf("operating system (%q)", a.vendor)
		}
		return "operating system"
	}
}

// classify tells who asks. A packet may say anything: whatever contradicts itself is taken as firmware in the field is known to
// mean it.
func classify(p *dhcpv4.DHCPv4) asker {
	a := asker{Client: bootsvc.Client{Arch: bootsvc.ArchUnknown}}
	copy(a.MAC[:], p.ClientHWAddr)
	a.vendor = cut(p.ClassIdentifier(), 64)
	a.UUID = uuid(p.Options.Get(dhcpv4.OptionClientMachineIdentifier))
	arch, told := architecture(p.Options.Get(dhcpv4.OptionClientSystemArchitectureType))
	if !told {
		arch, told = vendorArch(a.vendor)
	}
	switch {
	case isIPXE(p):
		a.class, a.IPXE = classIPXE, true
	case strings.HasPrefix(a.vendor, vendorHTTP):
		a.class = classHTTP
	case strings.HasPrefix(a.vendor, vendorPXE):
		a.class = classPXE
	case told && arch.HTTP(): // only firmware tells its architecture
		a.class = classHTTP
	case told:
		a.class = classPXE
	default:
		return a
	}
	if !told && a.class == classPXE {
		arch, told = bootsvc.ArchBIOS, true // PXE 2.1 is older than option 93, and older than UEFI
	}
	if told {
		a.Arch = arch
	}
	switch a.class {
	case classHTTP:
		a.Arch = overHTTP(a.Arch)
	case classPXE:
		a.Arch = overTFTP(a.Arch)
	}
	return a
}

// architecture reads option 93: a list of numbers, of which the first that can be booted counts.
func architecture(b []byte) (bootsvc.Arch, bool) {
	first, ok := bootsvc.ArchUnknown, false
	for ; len(b) >= 2; b = b[2:] {
		a := bootsvc.Arch(binary.BigEndian.Uint16(b))
		if name, _ := bootsvc.FirstFile(bootsvc.Client{Arch: a}, bootsvc.Entry{}, bootsvc.Server{}); name != "" {
			return a, true
		}
		if !ok {
			first, ok = a, true
		}
	}
	return first, ok
}

// vendorArch reads the architecture out of "PXEClient:Arch:00007:UNDI:003016", for firmware that does not send option 93.
func vendorArch(vendor string) (bootsvc.Arch, bool) {
	parts := strings.Split(vendor, ":")
	if len(parts) < 3 || parts[1] != "Arch" {
		return bootsvc.ArchUnknown, false
	}
	n, err := strconv.ParseUint(parts[2], 10, 16)
	return bootsvc.Arch(n), err == nil
}

// overHTTP and overTFTP make number and vendor class agree: some firmware sends one number for both ways to boot, and the class
// says which of them it is about to go.
func overHTTP(a bootsvc.Arch) bootsvc.Arch {
	switch a {
	case bootsvc.ArchIA32:
		return bootsvc.ArchIA32HTTP
	case bootsvc.ArchX64, bootsvc.ArchEBC:
		return bootsvc.ArchX64HTTP
	case bootsvc.ArchARM32:
		return bootsvc.ArchARM32HTTP
	case bootsvc.ArchARM64:
		return bootsvc.ArchARM64HTTP
	default:
		return a
	}
}

func overTFTP(a bootsvc.Arch) bootsvc.Arch {
	switch a {
	case bootsvc.ArchIA32HTTP:
		return bootsvc.ArchIA32
	case bootsvc.ArchX64HTTP:
		return bootsvc.ArchX64
	case bootsvc.ArchARM32HTTP:
		return bootsvc.ArchARM32
	case bootsvc.ArchARM64HTTP:
		return bootsvc.ArchARM64
	default:
		return a
	}
}

// iPXE's own options lie inside option 175, which it took over from Etherboot.
const (
	optionIPXE  = dhcpv4.GenericOptionCode(175)
	ipxeNoProxy = 176 // as a sub-option with value 1: do not wait for a proxyDHCP server
	ipxeHTTP    = 19  // as a sub-option: it can load over HTTP
)

// isIPXE tells iPXE by its user class (option 77), which comes as plain text or as RFC 3004's list of strings with their lengths,
// or, where a script has changed the class, by a feature list with HTTP in it, which Etherboot never had.
func isIPXE(p *dhcpv4.DHCPv4) bool {
	for rest := p.Options.Get(dhcpv4.OptionUserClassInformation); len(rest) > 0; {
		if string(rest) == "iPXE" {
			return true
		}
		n := int(rest[0])
		if n == 0 || n >= len(rest) {
			break
		}
		if string(rest[1:1+n]) == "iPXE" {
			return true
		}
		rest = rest[1+n:]
	}
	for rest := p.Options.Get(optionIPXE); len(rest) >= 2; {
		code, n := rest[0], int(rest[1])
		if 2+n > len(rest) {
			break
		}
		if code == ipxeHTTP && n > 0 && rest[2] != 0 {
			return true
		}
		rest = rest[2+n:]
	}
	return false
}

// uuid reads option 97 (RFC 4578 section 2.3): a zero and sixteen bytes, the first three fields in the byte order of SMBIOS, as
// dmidecode shows them.
func uuid(b []byte) string {
	if len(b) != 17 || b[0] != 0 {
		return ""
	}
	b = b[1:]
	if [16]byte(b) == [16]byte{} { // nobody has filled it in
		return ""
	}
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), b[8:10], b[10:16])
}

// cut shortens what came from outside, for sentences.
func cut(s string, most int) string {
	if len(s) > most {
		return s[:most]
	}
	return s
}
