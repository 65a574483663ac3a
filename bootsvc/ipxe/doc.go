// Package ipxe is what a machine runs between its firmware and its kernel: the loaders, which are files of Debian packages, and
// the iPXE script or GRUB configuration that is written for each machine.
//
// Everything is a function of (Client, Entry, Farm). Words from outside (titles, names, sentences) are reduced to plain ones
// before they go into a script; a command line that a script cannot carry exactly is refused with a sentence, never altered.
//
// # What a script does
//
// It names every server for each file, the one that rendered it first, which was alive a moment ago. Kernel and boot image
// come from the same server; the first that gives both is it. When none does, the machine says so and tries again: after three
// rounds it asks any server for its script anew, because the farm may have other plans by then, and names the choice that was
// made, so that a menu is not shown to nobody. A machine that may not boot shows the reason, waits 30 seconds and asks again. Only a machine
// that boots its own disk, or that is not this farm's, goes back to its firmware.
//
// It names the card with which the machine boots when it asks for the boot image, unless the command line allows a shell on the
// console, or names a card in ip=: package parts is why.
//
// It gives the lease of that card to the kernel, with the options that came with it: package nic of the programs goes on with it. Not
// where the machine has waited for a person or a server (spate-waited), which may have taken longer than the lease lasts.
//
// GRUB is used for Secure Boot alone. Its configuration ends when no server gave anything; grub.cfg, which loops, asks for
// it again.
//
// # What a dead first server costs
//
// Measured with QEMU, for each file that is asked of it (a kernel, or a script; the boot image comes from whoever gave the kernel):
//
//	                                       iPXE 2019 (BIOS)    GRUB 2.06 (TFTP)
//	its address refuses (service stopped)  0.01 s              32 s
//	nobody has its address                 4.9 s               32 s
//	it falls silent in the middle          5.0 s after         34 s after
//
// With Secure Boot a machine therefore boots half a minute later when the server that gave it its configuration dies
// before the kernel is loaded. GRUB has no setting for it.
//
// # What iPXE 1.0.0+git-20190125 (Debian 12) has
//
// inc, iseq, isset, clear, item --key, choose --timeout, chain --replace --autofree, kernel --timeout and --name, imgfree, :hexraw: all that is used was
// seen to work there, under BIOS and UEFI. It writes @ in a URL as %40. --timeout counts from the last progress, so it does
// not hurry a slow link. A word is what stands between spaces, there are no quotes; a script ends at the first line that
// fails, hence the || at the ends.
package ipxe
