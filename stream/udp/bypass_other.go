//go:build !linux

package udp

// Bypass is inner: on this system there is no way around the packet filter.
func Bypass(inner Conn, _ BypassOptions) Conn { return inner }
