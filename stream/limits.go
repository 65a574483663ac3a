package stream

import "time"

// Every bound of the shell. Those of the protocol are in package engine.
const (
	// MaxSessions is how many sessions a server carries.
	MaxSessions = 65536
	// sessionShards divides the table of sessions, so that receive loops rarely
	// meet at a lock.
	sessionShards = 64
	// smallAnswer and largeAnswer are the sizes of buffers that answers are read
	// into, in bytes; an answer that is longer is read in parts.
	smallAnswer = 16 << 10
	largeAnswer = 128 << 10
	// smallBuffers and largeBuffers bound the memory of answers that wait to be
	// sent: 16 MiB and 64 MiB. A reader waits when they are used up.
	smallBuffers = 1024
	largeBuffers = 512
	// poolQueue is how many reads may wait for a store, poolWorkers how many run
	// at once: enough for a store behind a network, harmless for one in memory.
	poolQueue   = 8192
	poolWorkers = 32
	// loopQueue is how many reads of each priority may wait in a receive loop for
	// their turn, before the pool gets them; after loopBurst of them what they gave
	// is sent.
	loopQueue = 256
	loopBurst = 8
	// delaySpan is over how long the delay of reads is averaged: reports to other
	// servers go out about as often.
	delaySpan = time.Second
	// helloQueue is how many first messages may wait for a handshake.
	helloQueue = 1024
	// cookieAbove: with more first messages waiting than this, addresses must
	// prove themselves before a handshake is spent on them.
	cookieAbove = 64
	// clockFast and clockSlow are the steps of the clock: while requests are in
	// work, and otherwise.
	clockFast = time.Millisecond
	clockSlow = 50 * time.Millisecond
	// sendRetries and sendPause: a full socket buffer drains within microseconds
	// at any speed worth having; then the train counts as lost in the network.
	sendRetries = 8
	sendPause   = 250 * time.Microsecond
	// bufferPart of the receive buffer that the kernel granted may be asked for:
	// it counts the memory that holds a datagram, which is up to twice its bytes,
	// and more when datagrams are much smaller than Ethernet's.
	bufferPart = 2
	// spin is how long the target looks for the next datagram before it parks,
	// while an answer is due.
	spin = 50 * time.Microsecond
)
