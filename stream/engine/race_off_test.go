//go:build !race

package engine

// simulationSeeds is how many seeds an ordinary test run tries.
const simulationSeeds = 300
