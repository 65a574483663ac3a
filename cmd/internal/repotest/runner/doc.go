// Command runner runs tests for the Makefile. It adds to the go command what a continuous integration run
// needs and "go test" does not say: a failure when a test was skipped or when none ran, failures in full and
// everything else in one line a package, and every fuzz target found and run for a few seconds.
//
//	go run ./cmd/internal/repotest/runner test [go test flags and packages]
//	go run ./cmd/internal/repotest/runner fuzz -time 10s [packages]
//	go run ./cmd/internal/repotest/runner tagged TAG [go test flags]
//
// The lines "ok  package  1.2s" of the go command are kept as they are, and the run closes with
// "N passed, N failed, N skipped", so that tools which count tests can read either. With CI=true in the
// environment a skipped test, or a run without any test, is a failure.
package main
