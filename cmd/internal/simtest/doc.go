// Package simtest holds the tests of a farm in one process: real stream servers and clients, the farm's decisions, stores
// with real files, verified disks and write caches, over a network in memory and in the time of testing/synctest. What
// takes 80 ms takes exactly that, however busy the machine is, so that bounds of time are checked to the letter, with
// -race too.
//
// It stands between the simulation of the engines, which replays from a seed and runs no goroutine, and the tests with
// processes, where time is only about right. Everything blocks on channels and timers here: a goroutine that waits for a
// socket or for events of the file system would stop the clock. That is why each server is the only member of its farm,
// asks the others' farms by a call who could take its targets over, and has its store looked through once a second.
package simtest
