// Package dhcp gives machines that boot an address and the name of the first file to load: as the network's DHCP server,
// or as a proxyDHCP server beside somebody else's, which gives the file alone.
//
//	Service (server.go)   sockets, clock, journal: a loop that owns a core
//	core    (core.go)     stepped: one packet, ARP answer or tick in; replies, ARP questions and notes out
//	read    (ask.go)      what a packet asks, or why it is none of ours
//	leases  (leases.go)   stepped: which address, held by whom until when
//	ahead   (ahead.go)    stepped: which addresses come next, and whether ARP has kept silent about them
//	decide  (reply.go)    pure: the reply, or silence, and the reason in words
//
// # One machine, one address
//
// A lease belongs to a MAC address, whatever client identifier (option 61) comes with it. RFC 2131 would have the client
// identifier first, but one machine that boots has several in a row: its firmware sends one made of its UUID, iPXE one made of
// the MAC address, and the operating system often a DUID. Keyed by those, one boot would take three addresses, and the root
// file system would lose its address while it is in use. The identifier is echoed (RFC 6842) and otherwise ignored.
//
// # Several servers on one network
//
// The servers of a farm that answer on one network need not talk to one another. What makes that safe:
//
//   - An address is offered only from the server's own share of the pool: address modulo number of servers. So two servers cannot
//     give one address to two machines, whatever either of them did not hear; and a pool that grows moves nobody's share.
//   - A REQUEST that selects another server of the farm is broadcast, so each server hears it: our own offer is withdrawn, and the address
//     is noted as that machine's. It is not offered, not even to the same machine: whether the other server has agreed was
//     not heard, and it may have given the address to a third one. But when the machine asks anew (firmware, iPXE and operating system
//     of one boot do so one after the other), its DISCOVER is left to the server of its lease, so that it keeps one address; if it
//     asks again within a retry's time, that server is down, and it gets an address from here.
//   - A machine in REBINDING (its server does not answer) gets its address from any server, also from another's share and also
//     when this server has never heard of it: it holds the address now, so the owner cannot have given it away. We remember it.
//   - What is only heard of another's share refuses nothing: a RELEASE goes to one server alone, which may have given the address to
//     the next machine since. Only the server of the share says no.
//   - INIT-REBOOT is answered only for what is known; a server that knows nothing keeps silent, because the one that does
//     may answer. For an address of another's share ARP is asked first.
//   - What remains: a server that was down while another renewed one of its addresses believes the lease to have ended. It
//     takes ended leases last, oldest first, and asks by ARP before it offers one; whoever holds the address answers.
//   - A reservation is in the farm file, which is the same on each server, so any of them gives it; no pool gives it to another.
//
// While a server is down, its share gives no new addresses. Machines that run keep theirs; one that boots needs one of the
// survivors' shares. So where two servers share a pool, it should have twice as many addresses as machines.
//
// # Addresses that somebody else uses
//
// Before an address is offered to a machine that does not hold it, ARP is asked, and 80 ms of silence mean that nobody uses it. Nearly each
// first power-on would wait for that, so the server asks ahead: for the next few addresses of its share of the network on which it stands,
// from its start and as long as it runs. Silence of the last minute counts, and whoever says meanwhile that he has one of
// them is believed. With an offer that goes out at once the question is asked anew: a network card may have come up after the
// last one. Whoever answers until the machine takes the offer has the address, and the machine is refused and asks again, for another one.
//
// ARP does not reach behind a relay agent: nobody is asked there. An address that its machine had before and whose lease has ended,
// and a reserved one, are asked for when they are offered.
//
// # What is left out on purpose
//
// BOOTP without DHCP, option overload in requests, several leases for one MAC address, dynamic DNS, IPv6. Authentication
// (RFC 3118) is in no firmware.
package dhcp
