// Package stream is the block protocol, both ends: a [Server] that streams
// vDisks over UDP to many targets, and a [Client] that logs in to a farm of
// servers, pulls objects and goes on with another server when one stops, dies
// or falls silent.
//
// What is decided is decided in package engine, byte by byte in package wire,
// key by key in package secure; package udp moves trains of datagrams. This
// package is the shell around them: goroutines, locks, buffers, disks.
//
// # Life of a read, at the server
//
//	receive loop   opens the datagram, hands requests to the pool; never waits, never sends data
//	pool           reads the stored bytes into a buffer, one bounded pool for each store
//	egress         one goroutine for each socket: takes sessions in turn (deficit round robin), seals, sends
//	clock          tells requests that take long to be pending, and does what else is due by time
//
// # Locks
//
// Each session has a lock of its own. The order is: session, then front (what
// comes before sessions), then egress. Nothing is held across a system call but
// the sealing of a train, which holds its session.
package stream
