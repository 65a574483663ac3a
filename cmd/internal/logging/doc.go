// Package logging builds the zap logger of the programs; nothing else in the repository builds one. Packages
// get a *zap.Logger as an argument of their constructors, and nil means silence (see Or).
//
// Levels: Error means that somebody must act, Warn that redundancy or speed is being lost, Info that a state
// changed, Debug says why. What happens for each packet is counted, never logged. The names of fields are the
// constants of keys.go, so that one search finds one thing in the logs of all programs.
package logging
