// Package bootreplay records what a machine asks of its disk while it boots, and asks the same of another disk later, so
// that disks can be compared by what machines do with them, without a machine.
//
// A Recorder is a blockdev.Device in front of another one; it notes when each request begins and ends. A Recording is its
// notes, and a file. Replay issues the reads of a recording again: each one as soon as those reads have ended that had
// ended in the machine before it began, because it may depend on any of them and on no other. So reads that the machine
// had under way together are under way together again, and a disk that answers later makes the whole later, as it would
// have made the boot. Options.Think adds the time that the machine itself took between its reads.
//
// Only reads are replayed. What a machine writes goes into the write cache of its target and costs no network, and what it
// has written it reads from there: such reads are left out.
package bootreplay
