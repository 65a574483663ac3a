//go:build race

package farm

// seenWithin is no bound of its own: the race detector makes everything slow.
const seenWithin = patience
