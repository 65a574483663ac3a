// Package vmlab switches on real machines, as far as QEMU's emulation is real: firmware, network card, and a network to
// boot from. Tests and the benchmark of booting use it.
//
// Everything lives in network namespaces. Enclose runs the program again in one of its own, in which a Network is a bridge with a
// tap for each machine; servers stand at the ends of veth pairs in namespaces of their own, so that each can be cut off
// (package lab). The namespaces have no names and end with the processes that hold them, and every process is a child that
// dies with us: nothing is left behind, however a test ends.
//
// Packets cross the network as they would cross wires: segmentation offloads are off on every card, so that a lost packet is one
// datagram, and counted bytes are those of the link. Loss and rate are made at the tap; Loss counts, because a test on a
// network that loses nothing tests nothing.
//
// A Machine is BIOS, UEFI, UEFI HTTP boot or Secure Boot, with a console that is read line by line, a keyboard, and, where
// the system on its disk listens for it, a shell on the second serial port. At most two run at once on one computer, as in vmtest.
//
// Peer is what Spate is compared with: dnsmasq, a file server, nbd-server, and an initramfs with busybox and nbd-client.
// Farm is servers of Spate with boot services.
package vmlab
