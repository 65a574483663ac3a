// Package vmtest boots virtual machines for tests and benchmarks: Debian, built by Debian's own tools, whose disk is an NBD unix socket.
//
// Prepare builds what a machine needs once and keeps it in build/cache, under a name that follows from the recipe: a root
// file system by mmdebstrap in an ext4 image by mke2fs, Debian's cloud kernel, and an initramfs with busybox and the few
// modules that a virtual disk takes. Start starts QEMU in software emulation; KVM is not used, because it is not there on
// most machines that build software, and half there on some. RecordBoot notes every request of a machine to its disk,
// from power-on to power-off.
//
// The machine's own init, guest.sh inside the image, works the disk hard in rounds: it reads files and checks their
// checksums, reads the raw disk, writes, syncs, compares, copies and removes trees, trims; each time past the page cache.
// It tells by lines that begin with MARK how far it is, and with "MARK bad" what went wrong. A Machine collects these
// and everything in which the kernel complains about its disk, so a test can pull servers from under the machine and ask
// afterwards whether it has noticed. Need, Fixture, Boot and Guest are the same for tests, which skip or fail.
//
// At most two machines run at once on one computer, whoever starts them; a third waits for its turn.
package vmtest
