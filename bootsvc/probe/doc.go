// Package probe finds out who answers the machines of a network that boot, and who of them wins. It asks as each kind of firmware does
// (kind.go), collects what comes for some seconds (ask.go), and judges (judge.go): pure, in words, with what to do.
//
// It takes no address: it never sends a REQUEST for one. It does ask the boot servers that proxyDHCP offers name at port 4011, as
// firmware would, because some of them tell the file only there.
package probe
