// Command bootbench measures power-on to a working system: Spate beside dnsmasq, a file server, nbd-server and an initramfs
// with busybox and nbd-client. Beside them, for what no disk in the network can be faster than, the same machine with a disk of its own.
//
// Both boot the same Debian, with the same kernel, on the same kind of machine, over a network of their own. Neither has iPXE wait for
// IPv6: beside dnsmasq stands a router that advertises itself, Spate says that none is there. Both tell it that no proxyDHCP server will answer. Kernel and initramfs come over HTTP in both
// cases. Rounds of both alternate, and medians are compared; each round is a new network and a machine that was never on before. The
// cable carries single packets, so that its byte counters are those of a wire.
package main
