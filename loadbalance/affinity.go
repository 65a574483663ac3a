package loadbalance

import "slices"

// near tells whether the server is near to the target by the policy's measure. Without affinity every server
// is near.
func (p Policy) near(t Target, s Server) bool {
	switch {
	case p.Affinity == AffinityNone:
		return true
	case p.By == SameSubnet:
		return inSubnet(t, s)
	default:
		return s.Zone == t.Zone
	}
}

// inSubnet tells whether the target's address lies in one of the server's subnets. An IPv4 address that came
// in the form of an IPv6 one counts as what it is.
func inSubnet(t Target, s Server) bool {
	addr := t.Addr.Unmap().WithZone("")
	for _, n := range s.Subnets {
		if n.Contains(addr) {
			return true
		}
	}
	return false
}

// allowed tells whether the policy lets the server serve.
func (p Policy) allowed(s Server) bool {
	return p.Allowed == nil || slices.Contains(p.Allowed, s.Name)
}
