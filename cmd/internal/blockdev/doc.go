// Package blockdev gives a disk to whoever wants a block device: Device is what a disk can do, Server shows one over
// NBD on a unix socket (QEMU, the libnbd tools, tests), KernelDevice as /dev/nbdN of this machine, WriteCache puts writes of
// a read-only disk into memory.
//
// # Server
//
// The fixed newstyle of the NBD protocol: options EXPORT_NAME, ABORT, LIST, INFO, GO, STRUCTURED_REPLY,
// LIST_META_CONTEXT and SET_META_CONTEXT with the context base:allocation; block sizes; commands READ, WRITE, DISC,
// FLUSH, TRIM, CACHE, WRITE_ZEROES and BLOCK_STATUS with the flags FUA, NO_HOLE, DF and REQ_ONE; many connections to one
// disk. TLS, extended headers and resizing are left out: a unix socket of mode 0600 needs no TLS, and the others have no
// use here.
//
// A request that waits delays no other. Of the goroutines of a connection one reads; what the device can answer at once
// it answers itself, and before it does anything that may wait it passes reading on to another one. So a single request
// in flight costs no switch between goroutines when the data is in memory, and one otherwise.
//
// Memory is bounded: at most MaxConnections connections, each with at most maxInFlight requests and Options.Memory bytes
// of payload. A connection that has reached its bound is not read from until answers have been written.
//
// # Device of the kernel
//
// The kernel's driver nbd asks over one end of a socket pair, in the plain form of the same protocol, and is set up by netlink
// (include/uapi/linux/nbd-netlink.h). One socket, because more bring nothing; no time-out, because a disk that waits for a
// server is slow and not dead. When the process dies the kernel keeps what comes, and a successor gives it another socket;
// reads that the process had taken and not answered the successor answers from a list that outlives it (Unanswered); all else the
// kernel sends again when it looks for requests that take long (io_timeout). The kernel's name for a request is its place and how often
// something was sent from there: an answer to what has been sent again ends the connection, and is never taken for another one's.
// A request that is abandoned is never answered: an error would be one of the disk.
//
// # Write cache
//
// Blocks of 4 KiB in anonymous memory outside the Go heap. A block is in one of three states: the base's (nothing is
// stored), zero (nothing is stored either) or data. A write of a part of a block is completed from the base first; trim
// and zeroing give memory back. When it is full, writes wait until something is trimmed, and that is said; they never
// fail for it, and never does the base's content stand in for a write that was taken.
//
// With Kept it lies in files in memory that somebody else holds, and outlives a process that dies at any instruction. The map
// consists of words that hold a state and its check, stored at once; data is there before the word that names it; and which
// blocks are free follows from the map alone. A word that does not check, or a block that two words name, ends the disk: it
// fails for good. Some free blocks are kept with their memory, because a write may be the kernel's way to get some.
//
// Sources: the protocol document of the NetworkBlockDevice project (doc/proto.md), unix(7), mmap(2), madvise(2).
package blockdev
