// Package worker is the process that serves the disk of a machine that boots from a vDisk: network card, log-in, write cache
// and the kernel's block device. Its keeper (package keeper) starts it, and starts another one when it dies.
//
// The first worker does, in this order:
//
//	card       the address: the boot loader's, by DHCP, or of ip=   kept: the lease
//	log-in     for ever, and says why it takes long                 kept: which version this is
//	cache      in the keeper's memory                               kept: that there is a disk, and its device
//	device     /dev/nbdN, and PID 1 may mount its root
//
// A later one finds what was kept and goes on from there: it adopts the lease, logs in with the same key to the same version,
// recovers the cache and takes over the device. What is kept is kept before it is done: a device that the state does not
// name is not attached. If the version, its content, or the map of the cache is not what it was, the disk fails for good,
// with a line that says why: nothing else would be right.
package worker
