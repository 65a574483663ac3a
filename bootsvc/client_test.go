package bootsvc

import (
	"net/netip"
	"strings"
	"testing"
)

func TestAMACAddressIsReadHoweverItIsWritten(t *testing.T) {
	want := MAC{0x52, 0x54, 0, 0x77, 0, 0xaf}
	for _, s := range []string{"52:54:00:77:00:af", "52-54-00-77-00-AF", "5254007700af"} {
		if m, err := ParseMAC(s); err != nil || m != want {
			t.Errorf("%s: %v, %v", s, m, err)
		}
	}
	for _, s := range []string{"", "52:54", "52:54:00:77:00:ag", "52:54:00:77:00:af:00", "525400:7700af", strings.Repeat("5", 1000)} {
		if m, err := ParseMAC(s); err == nil {
			t.Errorf("%q is read as %v", s, m)
		}
	}
}

func TestEachKindOfFirmwareGetsAFileThatItCanLoad(t *testing.T) {
	server := Server{Name: "a", Addr: netip.MustParseAddr("192.0.2.1"), HTTP: 6980}
	mac := MAC{0x52, 0x54, 0, 0x77, 0, 1}
	for _, c := range []struct {
		client Client
		secure bool
		want   string
	}{
		{Client{Arch: ArchBIOS}, false, "ipxe/undionly.kpxe"},
		{Client{Arch: ArchBIOS}, true, "ipxe/undionly.kpxe"},
		{Client{Arch: ArchX64}, false, "ipxe/snponly.efi"},
		{Client{Arch: ArchEBC}, false, "ipxe/snponly.efi"},
		{Client{Arch: ArchX64HTTP}, false, "http://192.0.2.1:6980/ipxe/snponly.efi"},
		{Client{Arch: ArchARM64}, false, "ipxe/arm64.efi"},
		{Client{Arch: ArchARM64HTTP}, false, "http://192.0.2.1:6980/ipxe/arm64.efi"},
		{Client{Arch: ArchX64}, true, "shimx64.efi"},
		{Client{Arch: ArchX64HTTP}, true, ""},
		{Client{Arch: ArchARM64}, true, ""},
		{Client{Arch: ArchIA32}, false, ""},
		{Client{Arch: 4711}, false, ""},
		{Client{Arch: ArchX64, IPXE: true}, false, "http://192.0.2.1:6980/script/52-54-00-77-00-01"},
	} {
		c.client.MAC = mac
		got, reason := FirstFile(c.client, Entry{SecureBoot: c.secure}, server)
		if got != c.want || reason == "" {
			t.Errorf("%v, Secure Boot %v: %q (%s), want %q", c.client, c.secure, got, reason, c.want)
		}
	}
}
