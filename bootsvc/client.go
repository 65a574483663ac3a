package bootsvc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
)

// MAC is the hardware address of an Ethernet card.
type MAC [6]byte

// String writes it as 52:54:00:12:34:56.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Hyphens writes it as 52-54-00-12-34-56, as file names and BOOTIF= have it.
func (m MAC) Hyphens() string { return strings.ReplaceAll(m.String(), ":", "-") }

var errMAC = errors.New("not a MAC address; write it as 52:54:00:12:34:56")

// ParseMAC reads a MAC address with colons, hyphens or nothing between its bytes.
func ParseMAC(s string) (m MAC, err error) {
	plain := strings.NewReplacer(":", "", "-", "").Replace(s)
	if len(plain) != 2*len(m) || len(s) != len(plain) && len(s) != len(plain)+len(m)-1 {
		return m, fmt.Errorf("%.32q: %w", s, errMAC)
	}
	if _, err := hex.Decode(m[:], []byte(plain)); err != nil {
		return m, fmt.Errorf("%.32q: %w", s, errMAC)
	}
	return m, nil
}

// Arch is the client system architecture of DHCP option 93 (RFC 4578 section 2.1, and the IANA registry "Processor
// Architecture Types").
type Arch uint16

// The architectures that are told apart.
const (
	ArchBIOS      Arch = 0
	ArchIA32      Arch = 6
	ArchX64       Arch = 7
	ArchEBC       Arch = 9 // what early x86-64 firmware says
	ArchARM32     Arch = 10
	ArchARM64     Arch = 11
	ArchIA32HTTP  Arch = 15
	ArchX64HTTP   Arch = 16
	ArchARM32HTTP Arch = 18
	ArchARM64HTTP Arch = 19
	ArchUnknown   Arch = 0xffff
)

// String names it as administrators do.
func (a Arch) String() string {
	switch a {
	case ArchBIOS:
		return "BIOS"
	case ArchIA32, ArchIA32HTTP:
		return "UEFI IA-32"
	case ArchX64, ArchEBC, ArchX64HTTP:
		return "UEFI x86-64"
	case ArchARM32, ArchARM32HTTP:
		return "UEFI arm32"
	case ArchARM64, ArchARM64HTTP:
		return "UEFI arm64"
	case ArchUnknown:
		return "unknown architecture"
	default:
		return fmt.Sprintf("architecture %d", uint16(a))
	}
}

// HTTP tells whether firmware of this architecture boots over HTTP.
func (a Arch) HTTP() bool { return a >= ArchIA32HTTP && a <= ArchARM64HTTP && a != 17 }

// Client is a machine that asks.
type Client struct {
	MAC  MAC
	Arch Arch
	// UUID is what the firmware calls the machine, empty when it does not.
	UUID string
	// IPXE says that iPXE asks, not the firmware.
	IPXE bool
}
