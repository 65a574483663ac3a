package tftp

import "time"

// Every bound of the service.
const (
	// Port is where firmware asks.
	Port = 69
	// MaxTransfers is how many transfers run at once: twice the thousand machines that one switch turns on. Each
	// has a socket and an open file. Whoever comes then waits for placeTime, as maxWaiting at once may; who waited in vain is
	// told so, and counted.
	MaxTransfers = 2048
	maxWaiting   = 2048
	// placeTime is longer than most firmware waits before it asks again, so that a place is found within one of its tries.
	placeTime = 5 * time.Second
	// MaxPerAddress is how many of them one address may have. Firmware has one, and a few that it gave up; but a server that was frozen
	// finds all the requests that a machine has repeated meanwhile, GRUB 44 in a minute, and must still serve the next one.
	MaxPerAddress = 128
	// maxBlock is the largest block that is agreed to: with its four bytes of TFTP and the headers of UDP and IPv4 it fills a frame of 1,500
	// bytes. Larger ones come in fragments, which much firmware cannot put together. The library leaves its own four bytes out of
	// the sum, and would agree to more where this server's card takes large frames and the machine's does not.
	maxBlock = 1500 - 20 - 8 - 4
	// receiveBuffer is what the system keeps of requests that have not been read, in bytes: some thousands.
	receiveBuffer = 4 << 20
	// timeout is how long an acknowledgement may take. It is short because a lost block costs it whole, and a
	// block that was sent twice costs nothing.
	timeout = 300 * time.Millisecond
	// retries is how often a block is sent again, each time after backoff more: a client that is gone keeps its
	// transfer for 8.3 s.
	retries = 8
	backoff = 200 * time.Millisecond
	// stopGrace is how long transfers may go on when the service ends. One whose client is gone takes 4 s at most to notice.
	stopGrace = 2 * time.Second
)
