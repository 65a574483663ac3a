// Package link sends and receives what UDP sockets cannot: IPv4 frames to machines that have no address yet, and ARP. It also binds UDP
// sockets to one interface and tells whether a packet came by broadcast.
//
// Frames are built and read by pure functions (frame.go); the sockets are Linux's (link_linux.go).
package link
