package httpboot

import "time"

// Every bound of the service.
const (
	// Port is where the farm's HTTP service listens when its configuration does not say.
	Port = 6980
	// MaxConnections is how many connections are open at once; the next ones wait in the system's queue.
	MaxConnections = 4096
	// MaxPerAddress is how many of them one address may have. A machine has one or two; those behind a router that hides their
	// addresses share them.
	MaxPerAddress = 256
	// maxHeader is the greatest size of a request's head in bytes.
	maxHeader = 8 << 10
	// headTime is how long a request may take to arrive, idleTime how long a connection may have none: firmware
	// leaves without closing.
	headTime = 10 * time.Second
	idleTime = 30 * time.Second
	// stallTime is how long a client may take nothing of an answer.
	stallTime = 30 * time.Second
	// stopGrace is how long transfers may go on when the service ends.
	stopGrace = 5 * time.Second
)
