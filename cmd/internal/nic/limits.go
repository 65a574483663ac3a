package nic

import "time"

const (
	// firstWait and lastWait are the first and the longest time until a question to DHCP servers is repeated; it doubles.
	firstWait = 500 * time.Millisecond
	lastWait  = 15 * time.Second
	// confirmAfter is the least time until the server is asked for the boot loader's lease, which is used until then, and half of the most.
	confirmAfter = 2 * time.Second
	// requests is how often one offer is asked for before others are looked for, and the boot loader's lease before others are asked.
	requests = 4
	// renewWait is the least time between two requests to renew (RFC 2131 section 4.4.5).
	renewWait = time.Minute
	// standardLease counts when a server names no time.
	standardLease = time.Hour
	// leastMTU is the smallest MTU that is taken from a server. Spate's first datagrams have 1,200 bytes.
	leastMTU, mostMTU = 1280, 65535
	// mostServers and mostRoutes bound what is taken of an answer.
	mostServers, mostRoutes = 8, 64
	// mostName is the longest domain name.
	mostName = 253

	// cardPoll is how often it is looked whether the card has come, or its link.
	cardPoll = 20 * time.Millisecond
	// sayAfter and sayMost are when it is first said that something is waited for, and the longest silence after that.
	sayAfter, sayMost = 3 * time.Second, time.Minute
	// cardPatience is how long each of several cards is tried when nothing says which one it is.
	cardPatience = 8 * time.Second

	// repairAfter is how long an address may be missing, or the card be down, before it is put back: long enough for a
	// network service that flushes an address and sets its own.
	repairAfter = 4 * time.Second
	// firstLook is when a card that was brought up is looked at again: the log-in and the mount of the root have the processor until then.
	firstLook = 2 * time.Second
	// lookAgain is how often the card is looked at without any event.
	lookAgain = 30 * time.Second
	// settle is how long the kernel's state may go on changing before it is looked at.
	settle = 50 * time.Millisecond
	// clockCheck bounds the sleep until a lease must be renewed: timers do not count the time of a machine that is suspended.
	clockCheck = time.Minute

	// listTries is how often the kernel is asked for a list that changes meanwhile.
	listTries = 5

	// portQueue is how many packets may wait for the DHCP client.
	portQueue = 16
	// mostPacket is the largest packet that is read.
	mostPacket = 1 << 16
)
