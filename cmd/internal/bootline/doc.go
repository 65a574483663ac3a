// Package bootline is the kernel command line of a machine that boots from a vDisk: the farm writes it into the boot script,
// spate-target as init reads it from /proc/cmdline.
//
//	spate.server=ADDRESS:PORT,…   log-in servers
//	spate.farm-key=spate1…        public key of the farm
//	spate.vdisk=NAME@VERSION      what to attach
//	spate.content=HEX             how the root hash of that version begins: what is booted and what is attached are one
//	spate.write-cache=ram:SIZE    where writes go: SIZE bytes of memory, with K, M or G, or N% of all memory
//	spate.root=block|overlay      writes are kept by block, or by file (overlayfs)
//	spate.shell=1                 after a failure a shell may be had on the console
//	spate.device-key=FILE         private key of the device, a file inside the boot image
//	BOOTIF=01-52-54-00-12-34-56   the card that PXE used (the 01 says Ethernet)
//	root= rootfstype= rootflags= ro rw init=     as the kernel documents them; noatime, unless rootflags names another way
//
// Words that it does not know are left alone: they are the kernel's, the system's, or those about the card's address (ip=, spate.lease=),
// which package nic reads.
package bootline
