package remote

// Stats are counters since Open, and how full the caches are now. Bytes are bytes of disk unless said.
type Stats struct {
	Reads     uint64 // calls of ReadAt, and of TryReadAt that gave an answer
	ReadBytes uint64
	Errors    uint64 // reads that failed

	// A read consists of parts, one a chunk. Each part counts once.
	DecodedHits uint64 // from the cache of decoded chunks
	StoredHits  uint64 // from the cache of stored chunks
	ZeroHits    uint64 // known to be zero
	AheadHits   uint64 // from an answer that was not in a cache yet, without waiting
	Misses      uint64 // waited for the network or for another reader

	Fetches      uint64 // fetches of chunks
	IndexFetches uint64 // fetches of index pages
	DiskBytes    uint64 // that fetches of chunks covered
	StoredBytes  uint64 // stored bytes of chunks that came
	IndexBytes   uint64 // bytes of index pages that came
	Damaged      uint64 // answers that did not verify

	AheadBytes  uint64 // asked for as read-ahead
	AheadUsed   uint64 // and read afterwards
	AheadWasted uint64 // and evicted before anybody read it

	CachedBytes  int64 // stored bytes in the cache
	DecodedBytes int64 // in the cache of decoded chunks
	IndexPages   int   // index pages in memory
	FlightBytes  int64 // asked for or not yet verified
}

// hit counts a part; first says that it was answered without waiting.
func (s *Stats) hit(first bool, kind *uint64) {
	if !first {
		kind = &s.Misses
	}
	*kind++
}

// HitRate is the part of reads, from 0 to 1, that was answered without waiting; 0 before the first.
func (s *Stats) HitRate() float64 {
	hits := s.DecodedHits + s.StoredHits + s.ZeroHits + s.AheadHits
	if all := hits + s.Misses; all > 0 {
		return float64(hits) / float64(all)
	}
	return 0
}

// Stats tells what the disk has done.
func (d *Disk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.CachedBytes, s.DecodedBytes = d.stored.bytes(), d.decoded.bytes()
	s.IndexPages, s.FlightBytes = d.index.recent.n, d.flight
	return s
}
