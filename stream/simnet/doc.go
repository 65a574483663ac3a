// Package simnet is a network in memory whose sockets are udp.Conns: delay, bottlenecks with queues, loss, reordering,
// duplication, packet size limits, partitions, forged datagrams, all drawn from one seed.
//
// It starts no goroutine and uses nothing but the clock of package time, channels and timers, so it works inside a
// testing/synctest bubble, where an hour of network passes at once. Everything random happens in Send, in the order of
// the calls: the same calls at the same times give the same network. Goroutines that race for Send give whatever order
// they give; exact replay belongs to the engines' own simulation.
//
// A datagram's way: the sender's device (Link.Device), the filter, cuts, then the Pipe of the route (loss, its queue,
// its rate, its delay), then the receive buffer of the socket it arrives at. What lies in a receive buffer one after the
// other from the same address is received as one batch, as with UDP_GRO.
package simnet
