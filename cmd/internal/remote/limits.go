package remote

// Bounds of a disk. What a person may want to change is in Options; these are its defaults.
const (
	// defaultCache of stored chunks holds some 140 MB of disk: the working set of a booted system, twice over.
	defaultCache = 64 << 20
	// defaultDecoded is for chunks that are read in parts. Chunks that are read whole do not pass it.
	defaultDecoded = 48 << 20
	// defaultIndex holds the index of some 6 GiB of disk at chunks of 16 KiB.
	defaultIndex = 16 << 20
	// defaultFlight: half of it, which is what a Stream may take, holds the greatest window of the protocol at four to one.
	defaultFlight = 32 << 20
	// defaultAhead covers one gigabit at 30 ms.
	defaultAhead = 4 << 20
	// minCacheSegments and minSlots: below that a cache evicts what is in use.
	minCacheSegments = 4
	minSlots         = 8
	minPages         = 64
	maxWorkers       = 64
)

const (
	// maxRun is how many bytes of disk one fetch of several chunks covers. More makes the first byte wait for the last,
	// less makes requests out of proportion to answers.
	maxRun = 256 << 10
	// maxRuns and maxPageReads together are less than what one protocol client carries at once, so that a fetch that is
	// rejected always finds its place there.
	maxRuns      = 384
	maxPageReads = 384
	// aheadPart: read-ahead takes at most 1/aheadPart of the room, so that demand always finds some soon.
	aheadPart = 2
	// pagesAhead is how many leaf pages are asked for before they are needed, where only the index is read or more than
	// the chunks that are under way need.
	pagesAhead = 8
	// horizon is how much of one long read is asked for before its first byte is there.
	horizon = 4 << 20
	// maxRejects is how often one answer may turn out wrong before its read fails: each of the servers that a client
	// remembers may be wrong once.
	maxRejects = 64
	// maxSingly is for how many leaf pages it is remembered that their chunks are fetched one by one.
	maxSingly = 4096
)

const (
	// maxTracks is how many sequential streams are followed at once.
	maxTracks = 8
	// firstWindow is the first read-ahead of a stream, in bytes of disk.
	firstWindow = 128 << 10
	// aheadAfter: so many reads in sequence make a stream.
	aheadAfter = 2
	// trackSlack: a read that begins so close to where the last one ended is sequential.
	trackSlack = 64 << 10
	// trackBack: reads so far behind a stream's end belong to it too, because several may be in work.
	trackBack = 16 << 20
)

const (
	// segmentSize is the least unit of eviction of the cache of stored chunks, in bytes.
	segmentSize = 256 << 10
	// leastCharge bounds the number of chunks in a segment: each counts as this many bytes at least.
	leastCharge = 1 << 10
	// evictScan is how many candidates an eviction looks at before it gives up; only what is in use is passed over.
	evictScan = 8
	// cheapDecode is how much of a disk TryReadAt decodes, in bytes; more is not done on the way.
	cheapDecode = 64 << 10
	// fanOut: a run of so many bytes of disk that somebody waits for is given to the workers too.
	fanOut = 64 << 10
	// minBuffer is the smallest class of buffers for answers.
	minBuffer     = 4 << 10
	bufferClasses = 9
)
