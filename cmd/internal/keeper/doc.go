// Package keeper keeps the disk of a machine that boots from a vDisk, from /init until the power goes off. Two processes of
// the one binary do it, both started before the root file system is mounted:
//
//	PID 1 ── Start ──► keeper "@spate-keeper"        owns what must survive: the memory of the write cache, the state, the binary
//	                      │   ▲
//	                start │   │ events, state
//	                      ▼   │
//	                   worker "@spate-worker"        network, log-in, write cache, kernel nbd
//
// PID 1 becomes the system's init by switch_root; keeper and worker live on. When the worker dies, the keeper starts
// another one, which adopts the lease, logs in again, recovers the write cache from the keeper's memory and takes over the
// block device; the machine sees a pause and no error. An upgrade is the same: a new binary, then a new worker.
//
// The keeper has no network and no device, reads nothing but messages of these two, and never ends by itself. If it is killed all the
// same, a worker on which the machine runs goes on: it has all that it needs, and starts another keeper, its own child, to which it
// tells what the first one knew. As long as nothing is mounted, PID 1 does that; a worker on which nothing runs makes room for that
// one's. What is between these, the last moments of a boot, is a gap: the worker goes on and says that nobody would follow it.
//
// # What keeps it alive
//
// Both names begin with @, so that systemd leaves them alone at shutdown (systemd.io/ROOT_STORAGE_DAEMONS). Both live in a
// mount namespace of their own, whose root is a tmpfs with /proc, /sys, /dev and /run in it: what the system mounts, moves or
// unmounts does not reach them, they hold no mount of the disk that they serve, and every path means after switch_root what it
// meant before. The binary is run from a descriptor, because the keeper deletes the initramfs when the system runs.
// PR_SET_IO_FLUSHER is set before the keeper is started, and inherited: their memory is never reclaimed by writing to their own
// disk. They are locked in memory and the OOM killer's last choice.
//
// # Messages
//
// SOCK_SEQPACKET pairs, one JSON object a message, bounded by maxMessage. What the worker wants its successor to know it sends
// as its State; once sent it is the keeper's.
package keeper
