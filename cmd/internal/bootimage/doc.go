// Package bootimage makes boot images: the initramfs with which a machine comes from its kernel to the root file system of
// its vDisk.
//
// A boot image is a cpio archive of the kind newc, compressed as one zstd frame, or two of them behind a head (package parts):
//
//	/init                    the program spate-target, static
//	/dev/console             character device 5:1, which the kernel opens before anything is mounted
//	/proc /sys /dev /run /tmp /root /newroot   empty folders
//	/lib/modules/VERSION/…   kernel modules, unpacked, and signed as the kernel's packager signed them
//	/lib/firmware/…          what these modules ask for, where a folder with firmware was given
//	/etc/spate/modules       which modules there are, in which order they are loaded, and for which devices: package modules
//	whatever was added
//
// The first of two parts has all that a machine with a common card loads, what was added, and a list of modules that names no others;
// the second has the drivers of all other cards, of USB and of keyboards, their firmware, and the list of all. Kernels unpack one archive behind the other, each file over
// the one that was there, so that both parts are the image that would have been made without parts. A machine may load the first part
// alone when its card is in the head: the head names a card when a driver of the first part takes it whatever its board and class, and
// no driver of the second part could. There are no parts where no card could be named, or where a second part would be empty.
//
// The same inputs give the same bytes: files are sorted, their times are 0, their owners root.
//
// Modules come from a folder /lib/modules/VERSION, or out of a kernel's Debian package, in which no modules.dep is: that is
// made when the package is installed. So what a module needs is always read out of the module itself (its section .modinfo,
// which is what depmod reads too), and there are not two truths. modules.dep only says which of two modules of one name
// counts; where it is missing, those in updates/ count. Modules are never stripped: the signature stands at their end.
//
// The kernel unpacks a frame with a window of up to 128 MiB; the encoder's is 8 MiB.
package bootimage
