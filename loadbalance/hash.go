package loadbalance

import "math"

// hash mixes device and server into 64 bits that look random. It is the same on every server and in every
// release: alternates must not be reshuffled by an update.
func hash(device, server string) uint64 {
	const (
		offset = 14695981039346656037 // FNV-1a, 64 bits
		prime  = 1099511628211
	)
	h := uint64(offset)
	for _, s := range [...]string{device, "\x00", server} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	// FNV alone leaves the high bits of short strings alike; the finaliser of MurmurHash3 spreads them.
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// score is the rendezvous score of a server for a device: the server with the highest score comes first, and
// over many devices each of them comes first in proportion to its weight.
func score(device string, s Server) float64 {
	const bits = 53 // of a float64's mantissa: u is strictly between 0 and 1
	u := (float64(hash(device, s.Name)>>(64-bits)) + 0.5) / (1 << bits)
	return s.weight() / -math.Log(u)
}
