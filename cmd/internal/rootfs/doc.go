// Package rootfs makes root file systems that machines boot from a vDisk: a root folder, from Debian's packages or copied from
// one that is there, and an image of a file system with it.
//
// # A folder that is there
//
// It is never changed. Copy copies it by tar(1), which keeps owners, modes, times, hard links, holes, access lists and
// capabilities; what a running system has in /proc, /sys, /dev, /run and /tmp is left out. Nothing in the copy is mended
// either, because nobody knows the system better than its owner: Look says what will be noticed at boot.
//
// # Debian
//
// Debian runs mmdebstrap with the variant minbase and what a machine without a disk of its own needs, then Prepare makes it a
// system of which there are many:
//
//   - No host name: the machine's is set by the boot image, from DHCP. An empty machine-id: systemd makes one at each boot.
//   - systemd-networkd goes on with the network that the boot image has set up. KeepConfiguration=yes: it never takes an
//     address away, because the root file system is behind it. It asks DHCP under the MAC address, as firmware and boot image
//     did, so that the machine keeps its address; it does not release it at shutdown. Nothing waits for it: the network is there.
//   - The journal is in memory, there is no swap, no timer that fetches package lists or trims file systems, and no entry for
//     the root in fstab: init has mounted it, and a check would read all of it over the network.
//   - SSH host keys are made now, once for all machines: made at boot they would change with each one.
//   - There is no initramfs in it: the boot image takes its place.
//
// # Images
//
// The UUID of the file system, and the seed of ext4's folders, are made of the vDisk's name: they say which vDisk a file system
// came from, and builds of one system differ less. No machine has two versions of a vDisk at once. Everything is initialised
// here: what the kernel would initialise after the first mount would fill the write cache of each machine.
package rootfs
