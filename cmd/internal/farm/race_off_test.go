//go:build !race

package farm

import "time"

// seenWithin is how long what takes a second may take on a machine that has other things to do.
const seenWithin = 3 * time.Second
