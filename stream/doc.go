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
//	receive loop   one for each socket: opens datagrams; answers by itself what the system has in memory; never waits
//	pool           reads the stored bytes that must be waited for into a buffer, one bounded pool for each store
//	egress         takes sessions in turn (deficit round robin), seals, sends; called by the loop, and by a goroutine
//	               for what the pool gives and for a socket that is full
//	clock          tells requests that take long to be pending, and does what else is due by time
//
// # Locks
//
// Each session has a lock of its own. The order is: session, then front (what
// comes before sessions), then egress. Nothing is held across a system call but
// the sealing of a train, which holds its session.
package stream
