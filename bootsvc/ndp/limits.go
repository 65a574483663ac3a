package ndp

import "time"

// Every bound of the service.
const (
	// window is how long after its question to the boot services a machine is answered. iPXE asks for routers and by DHCP at the same
	// time, for routers again after 0.25, 0.75, 1.75, 3.75 and 7.75 s.
	window = time.Minute
	// answerAgain is the least time between two answers to one machine.
	answerAgain = 200 * time.Millisecond
	// routerCounts is how long a router is believed to be there: it advertises itself at least that often (RFC 4861 section 6.2.1).
	routerCounts = 30 * time.Minute
	// maxMachines is how many machines are known; those on top of it wait for a router. Looking for ones to forget takes time, so it is
	// done at most that often.
	maxMachines = 16384
	sweepAgain  = time.Second
	// maxFrame is the largest frame that is read, maxOptions how many options of a message.
	maxFrame   = 2048
	maxOptions = 64
)
