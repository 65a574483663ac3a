// Package files is the one tree of names that TFTP and HTTP both serve.
//
//	ipxe/undionly.kpxe, ipxe/snponly.efi, ipxe/arm64.efi       iPXE
//	shimx64.efi, grubx64.efi, mmx64.efi, fbx64.efi             Secure Boot; shim asks for the others beside itself
//	boot.ipxe                                                  the script of any machine: it asks for the next one
//	script/MAC                                                 the iPXE script of one machine; ?arch= ?uuid=
//	grub/grub.cfg, grub/MAC.cfg                                GRUB's configuration, for any machine and for one
//	boot/VDISK@VERSION/kernel, boot/VDISK@VERSION/image        what a version boots with; ?mac= says for whom
//
// A MAC address is written with colons, hyphens or nothing between its bytes. One leading slash is allowed, because GRUB
// writes one.
//
// A name from the network is parsed into a Name, and never becomes a path: loaders are found by a fixed table, boot files by
// vDisk and version, the rest is rendered. What does not parse does not exist.
package files
