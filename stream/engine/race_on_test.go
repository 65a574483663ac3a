//go:build race

package engine

// simulationSeeds is how many seeds an ordinary test run tries; the race
// detector makes each cost tenfold.
const simulationSeeds = 20
