// Package agent is the target's life on a running Linux: it logs in, attaches a
// vDisk, tells what happens in plain lines, and answers `spate-target status`
// over a unix socket of its own.
//
// The status socket lies in a folder of the user that attached, named after the
// process; whoever asks for status looks at every socket in the folders it may
// read, so that nothing has to be configured.
package agent
