package netboot

import "time"

const (
	// firstDelay and lastDelay are the first and the longest time until something that failed is tried again; it doubles.
	firstDelay = 10 * time.Second
	lastDelay  = time.Minute
	// mostRounds bounds the rounds in which the drivers of new devices are loaded, one bus behind the other.
	mostRounds = 8
	// lookLater is how often new devices are looked for while the disk is waited for, which is there by then as a rule.
	lookLater = 500 * time.Millisecond
	// driverPatience is how long a card may be without a driver before that is said.
	driverPatience = 5 * time.Second
	// devicePatience is how long a partition may take to appear, and devicePoll how often it is looked for.
	devicePatience = 5 * time.Second
	devicePoll     = 20 * time.Millisecond
	// entropyPatience is how long random numbers may take before that is said.
	entropyPatience = time.Second
	// consolePatience is how long a console may take for a line; then the line is lost there.
	consolePatience = time.Second
	// stuckPatience is the same for one that did not take the line before.
	stuckPatience = 10 * time.Millisecond

	// mostPartitions bounds what is read of a partition table.
	mostPartitions = 128
	// mostLine bounds a line on the console, in bytes.
	mostLine = 400
)
