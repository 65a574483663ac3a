package engine

// The datagram sizes that are tried, in bytes of UDP payload: on a network
// Ethernet and the common jumbo frames, on loopback what it takes first.
var (
	networkSizes  = []int{1472, 4096, 8972}
	loopbackSizes = []int{65000, 1472, 4096, 8972}
)

func (s *Session) probeSizes() []int {
	if s.addr.Addr().IsLoopback() {
		return loopbackSizes
	}
	return networkSizes
}

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
	sizes := s.probeSizes()
	if s.tried >= len(sizes) {
		s.probeAt = Never
		return
	}
	if s.probes++; s.probes > probeTries && s.tried+1 < len(sizes) && sizes[s.tried+1] < sizes[s.tried] {
		s.tried++
		s.probes = 1
	}
	if s.probes > probeTries {
		s.probeAt = now.Add(probeRetry) // the path may change
		s.probes = 0
		return
	}
	s.probeSize = sizes[s.tried]
	if s.addr.Addr().Is6() && s.probeSize == networkSizes[0] {
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
		for sizes := s.probeSizes(); s.tried < len(sizes) && sizes[s.tried] <= s.packet+probeSlack; {
			s.tried++
		}
		s.probes = 0
		s.probeAt = now
	}
}
