// Package netboot is spate-target as /init of the boot image: the way of PID 1 from the kernel's start to the system's init.
//
//	mount /proc, /sys, /dev, /run
//	load modules               those that every machine needs, then what the machine's devices ask for
//	start the keeper           it starts the worker: network, log-in, kernel nbd
//	mount the root             which device, which file system; as it is, or below an overlay in memory
//	hand over                  the card to the system's network services
//	switch to the root         move mounts, exec the system's init
//
// PID 1 must not end, and nobody may be there to help: whatever fails is said in plain lines on every console, and tried again
// with a growing delay. Where the boot configuration allows it, Enter opens a shell meanwhile. What has been done is not done
// again. When PID 1 has become the system's init, keeper and worker go on by themselves.
//
// At shutdown nothing of this package runs: the system's own shutdown leaves processes alone whose names begin with @,
// which keeper and worker do, and so can write out what is dirty.
//
// What a device holds (probe), which partition is meant (findRoot), and which mount options mean what (mountFlags) are pure.
package netboot
