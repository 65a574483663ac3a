package udp

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// maxNeighbours bounds the table of hardware addresses.
	maxNeighbours = 256
	// askAgain is how often a hardware address is asked for.
	askAgain = 200 * time.Millisecond
)

// neighbours knows the hardware addresses behind IP addresses: from ARP replies, and from the frames of remote
// addresses, which come from the router toward them.
type neighbours struct {
	mu    sync.Mutex
	known map[netip.Addr][6]byte   // guarded by mu
	asked map[netip.Addr]time.Time // guarded by mu
}

func (n *neighbours) learn(a netip.Addr, mac [6]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.known[a]; ok && old == mac {
		return
	}
	if n.known == nil || len(n.known) >= maxNeighbours {
		n.known = map[netip.Addr][6]byte{}
	}
	n.known[a] = mac
}

// find returns the hardware address for a remote address; ask says that the one of next is to be asked for now.
func (n *neighbours) find(now time.Time, remote, next netip.Addr) (mac [6]byte, ok, ask bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if mac, ok = n.known[remote]; ok {
		return mac, true, false
	}
	if mac, ok = n.known[next]; ok {
		return mac, true, false
	}
	if now.Sub(n.asked[next]) < askAgain {
		return mac, false, false
	}
	if n.asked == nil || len(n.asked) >= maxNeighbours {
		n.asked = map[netip.Addr]time.Time{}
	}
	n.asked[next] = now
	return mac, false, true
}

func (n *neighbours) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.known)
	clear(n.asked)
}
