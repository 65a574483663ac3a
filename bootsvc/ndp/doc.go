// Package ndp tells machines that boot that no router answers them, where none does.
//
// iPXE configures IPv4 and IPv6 at the same time and goes on when both are done. For IPv6 it asks for routers, six times in 16 s, before it
// believes that there is none: on a network with IPv4 alone, as most are where machines boot, each start costs that time although DHCP
// was answered long ago. Nothing in DHCP can tell it otherwise. With the card's ROM of Debian 12 in QEMU it is 25.0 s from power-on to the
// root's init without this service, and 8.1 s with it. So this service says it in the words of RFC 4861: an advertisement
// with a router lifetime of 0 ("I am no router"), no prefix and no flags. No address or route can come from it.
//
//	Service  (service.go)   socket and clock
//	parse    (frame.go)     a frame that is a valid solicitation or advertisement, or not
//	Machines (machines.go)  who has asked the boot services of late
//	decide   (decide.go)    pure: answer or silence, and the reason in words
//
// It is sent to one card alone, and only in answer to a machine that has asked this server as firmware or iPXE within the last minute and
// has not got its boot script yet. Systems that run, and strangers, never see it. Where a router advertises itself nothing is sent at all.
//
// Packets come and go by a packet socket: it works without IPv6 on the interface, with the link-local address that the card would
// have.
//
// Left out on purpose: answers through relay agents (solicitations do not cross routers), and to machines that were sent here by somebody
// else's DHCP server: they ask for routers before this farm hears of them.
package ndp
