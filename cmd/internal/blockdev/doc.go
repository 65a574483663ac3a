// Package blockdev gives a disk to whoever wants a block device: Device is what a disk can do, Server shows one over
// NBD on a unix socket (QEMU, the libnbd tools, tests), WriteCache puts writes of a read-only disk into memory.
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
// # Write cache
//
// Blocks of 4 KiB in anonymous memory outside the Go heap. A block is in one of three states: the base's (nothing is
// stored), zero (nothing is stored either) or data. A write of a part of a block is completed from the base first; trim
// and zeroing give memory back. When it is full, writes wait until something is trimmed, and that is said; they never
// fail for it, and never does the base's content stand in for a write that was taken.
//
// Sources: the protocol document of the NetworkBlockDevice project (doc/proto.md), unix(7), mmap(2), madvise(2).
package blockdev
