// Command chaos is what `make chaos` runs: real servers with identical stores, real targets that read under load and
// compare every byte, and cycle after cycle the server that serves is stopped, killed, frozen or cut off.
//
// It measures from outside, with readers that have one demand read of 4 KiB under way at a time: the longest such read of
// a cycle is the pause that a program on the disk would have seen. Beside them a thread sleeps a millisecond at a time;
// by how much it oversleeps, the machine itself stood still or was too busy to run anybody, and the net figure is
// without that.
//
// With two CPUs for servers, targets and load alike, figures depend on the load; it is a fixed rate for this reason.
//
// As root it runs in a network namespace of its own with one more for each server, so that links can be cut: set down,
// or made to drop every packet without telling anybody. Otherwise the servers are on loopback and cycles that cut
// links are left out, which it says; with CI=true that is a failure.
package main
