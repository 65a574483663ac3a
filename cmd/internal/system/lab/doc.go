// Package lab runs a farm of real processes for tests: servers (spated) with identical stores, targets (spate-target)
// with their NBD sockets, the console (spate). It ends what it starts: processes are its children, which die with it,
// and every file lies in the folder it is given.
//
// On loopback nothing can be cut, so as root a lab can also stand behind a Bridge: each server then lives in a network
// namespace of its own at the end of a veth pair, whose near end is set down or made to drop datagrams. The namespaces
// have no names and end with the process that holds them; nothing of them can be left behind.
package lab
