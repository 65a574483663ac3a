// Package link sends and receives what UDP sockets cannot: IPv4 frames to machines that have no address yet, ARP, and what
// concerns routers of IPv6 on an interface that may have no IPv6. It also binds UDP sockets to one interface and tells whether a packet came
// by broadcast.
//
// Frames are built and read by pure functions (frame.go); the sockets are Linux's (link_linux.go, routers_linux.go).
package link
