// Package remote is a vDisk as a target sees it: a read-only disk whose bytes come from servers that it does not trust.
// It turns a client of the stream protocol, which fetches stored bytes of objects, and the rules of the Merkle tree into
// a disk that reads verified bytes.
//
// # The life of a read
//
// A read consists of parts, one a chunk. Each looks into the cache of decoded chunks, then into the cache of stored
// chunks, then among the fetches in work, then into the index, which may know the chunk to be zero. What is nowhere is
// asked for: consecutive chunks below one leaf page become one fetch, a run. Index pages that are not known are asked for
// in the same flight, all levels at once.
//
//	asked -> held -> ready -> (verified chunk by chunk) -> cached
//	             \     |
//	              \    v
//	               -> broken -> asked, of another server
//
// A run is held until the leaf page that describes it is there, a page until the page above it is; the top page is
// compared with the root that the log-in named. With the page known, the length of an answer is, too; an answer of
// another length, and one with a chunk or page of another hash, goes back to the network, which asks another server.
// Stored bytes are verified before they are decompressed. Held bytes are bounded by Options.FlightBytes of disk.
//
// # Who works
//
// The network's goroutine only notes what came, and hashes index pages. A reader that waits for a run verifies and
// decodes its own chunk of it: at depth one there is one hand-over and no other goroutine, with many readers each works
// for itself. A run for which nobody waits, read-ahead or the far part of a long read, is verified and decoded by the
// workers. One lock guards all state; hashing, decoding, copying and the network's methods run without it.
//
// # What is bounded
//
// Fetches in work, bytes of disk under way, each cache, and the window of read-ahead have bounds (limits.go, Options).
// Demand that finds no room waits for it and holds none meanwhile, so that what is under way always comes to an end.
// Beside Options the disk needs 1 to 12 % of CacheBytes for its directory, most where chunks are small, and buffers of at
// most twice FlightBytes. The
// caches lie outside the Go heap; readers reuse what they need, so that a read makes no garbage.
//
// # When no server has a good copy
//
// A run of several chunks of which no server has all good is fetched chunk by chunk. A chunk that nobody has fails the
// reads of it with a ReadError, and no others.
package remote
