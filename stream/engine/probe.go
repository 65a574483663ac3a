package engine

// probeSizes are the datagram sizes that are tried, in bytes of UDP payload:
// Ethernet, the common jumbo frames, and loopback.
var probeSizes = [...]int{1472, 4096, 8972, 65000}

// restartProbing begins with the small datagram again and looks for more from
// then on.
func (s *Session) restartProbing(at Instant) {
	s.packet = basePacket
	s.tried, s.probes, s.probed = 0, 0, 0
	s.probeAt = at
}

// tickProbe tries the next size. Each is sent probeTries times; the target
// reports what came, and what was sent meanwhile does not wait for it.
func (s *Session) tickProbe(now Instant) {
	if now < s.probeAt || !s.proven {
		return
	}
	if s.tried >= len(probeSizes) || probeSizes[s.tried] > loopbackOnly && !s.addr.Addr().IsLoopback() {
		s.probeAt = Never
		return
	}
	if s.probes++; s.probes > probeTries {
		s.probeAt = now.Add(probeRetry) // the path may change
		s.probes = 0
		return
	}
	s.probeSize = probeSizes[s.tried]
	if s.addr.Addr().Is6() && s.tried == 0 {
		s.probeSize -= probeSlack // of the longer header
	}
	s.probed = max(s.probed, s.probeSize)
	s.probeAt = now.Add(probeAgain)
}

// sized takes the target's word on the largest datagram that came.
func (s *Session) sized(now Instant, largest int) {
	switch {
	case largest < basePacket:
	case largest == basePacket:
		// Big datagrams vanish: start again from the small one, later.
		s.restartProbing(now.Add(probeRetry))
	case largest > s.packet && largest <= s.probed:
		s.packet = largest
		for s.tried < len(probeSizes) && probeSizes[s.tried] <= s.packet+probeSlack {
			s.tried++
		}
		s.probes = 0
		s.probeAt = now
	}
}
