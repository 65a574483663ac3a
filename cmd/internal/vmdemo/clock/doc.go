// Package clock is what runs on the machine of `make run-vm`: it prints the time each second, together with what it has read
// from the machine's disk, past all caches of the system, and compared with what must be there, and with what it has
// written there and read back.
package clock
