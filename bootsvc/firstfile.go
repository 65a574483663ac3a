package bootsvc

import (
	"fmt"
	"net/netip"
)

// The names of files that both TFTP and HTTP serve. What follows a slash at the end of a name is its parameter.
const (
	FolderIPXE   = "ipxe/"     // ipxe/undionly.kpxe, ipxe/snponly.efi, ipxe/arm64.efi
	FolderScript = "script/"   // script/MAC: the iPXE script of a machine
	FolderBoot   = "boot/"     // boot/VDISK@VERSION/CONTENT/kernel and …/image; without CONTENT whatever a server holds
	FileScript   = "boot.ipxe" // a script for any machine: it asks for script/MAC; for DHCP servers of others
	FileShim     = "shimx64.efi"
	FileGRUB     = "grubx64.efi"
	FolderGRUB   = "grub/" // grub/grub.cfg, grub/MAC.cfg
)

// FirstFile says which file the firmware or iPXE of a machine loads from server, as a TFTP name or an HTTP URL. An empty
// name means none, for the reason.
func FirstFile(c Client, e Entry, server Server) (name, reason string) {
	url := func(file string) string {
		return "http://" + netip.AddrPortFrom(server.Addr, server.HTTP).String() + "/" + file
	}
	switch {
	case c.IPXE:
		return url(FolderScript + c.MAC.Hyphens()), "iPXE gets its script"
	case c.Arch == ArchBIOS:
		return FolderIPXE + "undionly.kpxe", "BIOS loads iPXE"
	case e.SecureBoot && (c.Arch == ArchX64 || c.Arch == ArchEBC):
		return FileShim, "UEFI x86-64 loads the signed shim"
	case e.SecureBoot:
		return "", fmt.Sprintf("there is no signed way to boot %s with %s: set secure_boot: off for it, or switch the firmware to UEFI PXE on x86-64", c.Arch, protocol(c.Arch))
	}
	file := ""
	switch c.Arch {
	case ArchX64, ArchEBC, ArchX64HTTP:
		file = FolderIPXE + "snponly.efi"
	case ArchARM64, ArchARM64HTTP:
		file = FolderIPXE + "arm64.efi"
	default:
		return "", fmt.Sprintf("nothing to load for %s: BIOS, UEFI x86-64 and UEFI arm64 can be booted", c.Arch)
	}
	if c.Arch.HTTP() {
		return url(file), c.Arch.String() + " loads iPXE over HTTP"
	}
	return file, c.Arch.String() + " loads iPXE"
}

func protocol(a Arch) string {
	if a.HTTP() {
		return "HTTP"
	}
	return "TFTP"
}
