package engine

import "time"

// Bounds and time constants of the protocol logic. Each stands here once, with
// the reason for its value; the bounds of sockets and goroutines are in
// package stream.
const (
	// minRoundTrip keeps estimates above zero: the held time in an answer is
	// coarse (16 µs), so that on loopback a sample may come out at nothing.
	minRoundTrip = 20 * time.Microsecond
	// minResend and four round trips: silence shorter than this means nothing.
	minResend = 20 * time.Millisecond
	// unknownResend is used until a first round trip has been measured.
	unknownResend = 100 * time.Millisecond
	// promise is the time within which a server answers a request, with data or
	// with pending.
	promise = 5 * time.Millisecond
	// silence is the least time without any datagram of a server, while an answer
	// is due, after which another server is asked.
	silence = 80 * time.Millisecond
	// pendingPoll: how often a server is asked for a sign of life while all that
	// was asked of it is pending.
	pendingPoll = 100 * time.Millisecond
	// pendingAgain: how often one pending request is sent again, in case its
	// answer was lost.
	pendingAgain = 250 * time.Millisecond
	// tickShort and tickLong bound the time between two looks at the asks of a path.
	tickShort = 2 * time.Millisecond
	tickLong  = 10 * time.Millisecond
	time1ms   = time.Millisecond
	// oversleep: a timer later than this says that we did not run ourselves, so
	// that the silence was ours.
	oversleep = 10 * time.Millisecond
)

// The window (window.go).
const (
	initialWindow  = 64 << 10
	minWindow      = 16 << 10
	maxWindow      = 4 << 20
	windowStep     = 4 << 10 // growth in a round trip
	maxShrink      = 0.5
	heavyShrink    = 0.7
	heavyLossPart  = 3 // a third of the bytes of a round
	heavyLossBytes = 64 << 10
	minTargetDelay = time.Millisecond
	maxTargetDelay = 25 * time.Millisecond
	minRound       = 200 * time.Microsecond
	baseSlots      = 4
	baseSlotLength = 5 * time.Second
)

// The target's side.
const (
	// MaxAnswer is the longest answer, in bytes of stored objects, that one
	// fetch may name.
	MaxAnswer = 4 << 20
	// MaxFetches is how many fetches a client carries at once; more wait in the
	// caller.
	MaxFetches = 1024
	// maxAsks is into how many separate ranges the missing bytes of one fetch may
	// fall; a further gap joins its neighbour and some bytes come twice.
	maxAsks = 16
	// maxPaths: serving, its successor or two alternates, one for repair, and old
	// ones that are still listened to.
	maxPaths = 8
	// maxServers is how many servers a client remembers.
	maxServers = 64
	// newerPieces: a gap is asked for again after so many newer pieces, because
	// datagrams may overtake one another.
	newerPieces = 2
	// preferredAsk is the length of one request when the window is small: less
	// makes requests out of proportion to answers.
	preferredAsk = 32 << 10
	// leastPiece is the payload that a datagram carries at least on any path.
	leastPiece = 1024
	// darkLimit: so many asks in a row timed out while the server was heard.
	darkLimit = 8
	// cookiesTaken bounds the re-sends that cookies can cause.
	cookiesTaken = 3
	// clientReplayWindow in datagrams: trains of parallel receive paths may
	// overtake one another widely.
	clientReplayWindow = 1 << 16
)

// Log-in and change of server.
const (
	helloStagger  = 100 * time.Millisecond // between the first messages to two servers
	helloAgain    = 250 * time.Millisecond // first re-send of a first message
	helloAgainMax = 2 * time.Second
	helloGiveUp   = 3 * time.Second // then a fresh handshake
	flightAgain   = 50 * time.Millisecond
	maxFirst      = 1472 // a first message or a ticket flight is not longer
	attemptsMax   = 3    // servers asked at once
	retryAllMin   = 200 * time.Millisecond
	retryAllMax   = 2 * time.Second
	denyAgain     = 5 * time.Second
	penaltyMin    = 2 * time.Second
	penaltyMax    = 60 * time.Second
	lingerOld     = 2 * time.Second // an old path is listened to for so long
	noticeFirst   = 3 * time.Second // no server: say so
	noticeAgain   = 30 * time.Second
	statusEvery   = 10 * time.Second
	resumedLife   = time.Minute
	sessionLife   = time.Hour
	keyDatagrams  = 1 << 26
	renewalAgain  = 20 * time.Second
	plannedAgain  = 250 * time.Millisecond
	leaveWithin   = 200 * time.Millisecond // a replaced path that still has answers to bring
	auxIdle       = 30 * time.Second
	repairAgain   = 100 * time.Millisecond
	repairGiveUp  = 10 * time.Second
	pauseSettles  = time.Second // then a move is told, whatever the reads do
	// Ranks of servers: alternates count from 0 in their order.
	formerRank     = 500  // once an alternate, or named by a referral
	configuredRank = 1000 // log-in servers as configured
)

// The server's side.
const (
	// MaxReads is how many requests of one session may be in work.
	MaxReads = 256
	// pendingAfter: a request that is not answered by then gets pending. It leaves
	// room within the promise for a late tick.
	pendingAfter = 3 * time.Millisecond
	// unprovenBytes may be sent to an address that only a ticket names.
	unprovenBytes = 64 << 10
	halfOpenLife  = 5 * time.Second
	halfOpenMax   = 4096
	sessionIdle   = 35 * time.Second // three status messages lost and some
	usedTicketMax = 1 << 17
	controlMax    = 4 << 10 // bytes of control frames queued for one session
	// basePacket passes every path (RFC 9000 section 14.1 asks the same of its paths).
	basePacket   = 1200
	maxTrain     = 65507 // bytes of UDP payload, headers taken off
	maxSegments  = 64
	loopbackOnly = 9000 // larger datagrams are tried on loopback only
	probeTries   = 3
	probeAgain   = 100 * time.Millisecond
	probeRetry   = 10 * time.Minute
	busyRetry    = 20 // milliseconds
	awayAgain    = 50 * time.Millisecond
	awayReminder = time.Second
	checkAgain   = 100 * time.Millisecond
	ticketEvery  = 5 * time.Minute
	epochLength  = 30 * time.Minute
	slotSpacing  = 2 * time.Millisecond // between two targets that move
	hintRate     = 100                  // unsealed hints a second
	// A core makes about 2,000 handshakes a second; boots may take a part of it.
	defaultBoots      = 500
	defaultReconnects = 2000
)

// Fanout is how many entries an index page has, PageBound the longest page in
// bytes: 36 for each entry. Both are part of the protocol.
const (
	Fanout    = 64
	PageBound = 36 * Fanout
)

// CheckSlot marks a job that asks to verify an object, and has no answer.
const CheckSlot = -1
