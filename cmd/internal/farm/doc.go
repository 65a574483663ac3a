// Package farm is the domain: what a farm is, who may log in to what, which version a name stands for, which
// server serves whom, and what servers tell each other. It is the only package that knows the four product
// folders; each of these states what it needs as an interface of its own, and this package satisfies it.
//
// # One file
//
// A farm is described by one YAML file, the same on each server (config.go, reading.go). It names key files
// and never holds a key. It is checked whole: every mistake is reported, with its line and column. Servers
// gossip the file's hash, so that one with another file is seen.
//
// # What servers tell each other
//
// Servers find each other with memberlist, sealed with a key derived from the farm secret (peers.go). Once a
// second each sends every other one a report: state, load, hash of the farm file, digest of its inventory and
// the epoch of its ticket keys. A server that holds another inventory of a peer than the one its report speaks
// of asks for it. What arrives is merged by Book, a value without clock or socket.
//
// Membership is a hint. It decides who is proposed to a target, never whether a running session goes on, and
// nothing on the path of data waits for it. No decision compares the clocks of two machines: reports are
// ordered by a random start number, which the peer's membership names, and a sequence number.
//
// # Balance
//
// Each server looks now and then whether others have less to do, and asks a few of its targets to go there
// (balance.go), unless the policy says `rebalance: off`. So those that a failure has brought together are spread
// again once the other server has served for the hold time.
//
// # Versions
//
// A vDisk's plain name stands for its highest version that every live server listed for the store holds
// identically; a higher one is pending. When no version is held by all of them, the highest that any of them
// holds is served, rather than nothing: a server that was just added has an empty store (version.go).
//
// # Boot
//
// What a machine boots is decided like a log-in, on a view, from the farm file and the inventories (boot.go): it names the
// version, whose kernel and boot image each server gives from its own store (bootfile.go), and the command line that leads
// the machine to the log-in. Inventories tell what a version carries for booting, so that a server without a replica answers
// as the others do. What was done for a machine is remembered in bounds (machines.go), for explain; nobody else needs it.
//
// # One interface
//
// Service is all that the console, the command line and the page know of a farm. Farm satisfies it on a
// server: what concerns another server is forwarded over the peers' sealed connections.
package farm
