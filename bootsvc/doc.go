// Package bootsvc is the way of a machine from power-on to its first log-in: what the services of its subpackages say to one
// another, and what they ask of the farm.
//
//	firmware ── DHCP ──► dhcp      who am I, what do I load?        decided by Directory.Boot and FirstFile
//	   │
//	   ├──── TFTP/HTTP ► tftp, httpboot: iPXE, or shim and GRUB      files of Debian's packages, found by package ipxe
//	   ▼
//	iPXE ────── HTTP ──► httpboot: a script for this machine         rendered by package ipxe: menu, message, or kernel
//	   │
//	   ├──────  HTTP ──► httpboot: kernel and boot image             out of the sealed version of the vDisk
//	   ▼
//	kernel, spate-target as init ── UDP ──► stream service
//
// Every server of a farm answers every machine in the same way, because the answer is made from the farm's state alone. The
// script names all servers for each file, so that after it was loaded no single server is needed; before that the firmware's
// own retry or a reset finds another one.
//
// The services are strangers to the farm: it satisfies Directory. None of its methods waits for anything.
package bootsvc
