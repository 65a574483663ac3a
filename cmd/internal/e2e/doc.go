// Package e2e boots real machines from real farms: from power-on, over the firmware's own network client, to a working
// Debian (package vmlab). `make e2e` runs all of it (build tag e2e); `make system`, and so CI, a selection of a few minutes
// (build tag system).
package e2e
