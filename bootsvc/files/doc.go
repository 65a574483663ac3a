// Package files is the one tree of names that TFTP and HTTP both serve.
//
//	ipxe/undionly.kpxe, ipxe/snponly.efi, ipxe/arm64.efi       iPXE
//	shimx64.efi, grubx64.efi, mmx64.efi, fbx64.efi             Secure Boot; shim asks for the others beside itself
//	boot.ipxe                                                  the script of any machine: it asks for the next one
//	script/MAC                                                 the iPXE script of one machine; ?arch= ?uuid=
//	grub/grub.cfg, grub/MAC.cfg                                GRUB's configuration, for any machine and for one
//	boot/VDISK@VERSION/CONTENT/kernel, …/image                 what a version boots with; ?mac= says for whom
//	                                                           and, by HTTP, ?card= says whose drivers it needs
//	boot/VDISK@VERSION/kernel, …/image                         the same, whatever this server holds under the number
//
// A MAC address is written with colons, hyphens or nothing between its bytes. One leading slash is allowed, because GRUB
// writes one.
//
// CONTENT is what the script or configuration of the machine was made for: a server that holds something else under the number
// gives nothing, and the machine asks the next one. Without it a machine could start the kernel of one disk with another.
//
// A name from the network is parsed into a Name, and never becomes a path: loaders are found by a fixed table, boot files by
// vDisk and version, the rest is rendered. What does not parse does not exist.
package files
