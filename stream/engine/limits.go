package engine

import (
	"time"

	"github.com/spate-project/spate/stream/wire"
)

// Bounds and time constants of the protocol logic. Each stands here once, with
// the reason for its value; the bounds of sockets and goroutines are in
// package stream.
const (
	// minRoundTrip keeps estimates above zero: the held time in an answer is
	// coarse (16 µs), so that on loopback a sample may come out at nothing.
	minRoundTrip = 20 * time.Microsecond
	// minResend and four round trips: silence shorter than this means nothing.
	minResend = 20 * time.Millisecond
	// maxResend: whatever the round trip seemed to be, silence is looked into then.
	maxResend = time.Second
	// unknownResend is used until a first round trip has been measured.
	unknownResend = 100 * time.Millisecond
	// promise is the time within which a server answers a request, with data or
	// with pending.
	promise = 5 * time.Millisecond
	// pendingSlack: a machine that is busy keeps it a little later.
	pendingSlack = time.Millisecond
	// silence is the least time without any datagram of a server, while an answer
	// is due, after which another server is asked.
	silence = 80 * time.Millisecond
	// lastLook is how long before the end of that time a last probe is sent.
	lastLook = 10 * time.Millisecond
	// mostQueueing is how much of a round trip beyond the smallest one that was
	// ever measured counts when silence is judged: more comes of overload, after
	// which a dead server would be waited for as long as the overload was bad.
	mostQueueing = 200 * time.Millisecond
	// pendingPoll: how often a server is asked for a sign of life while all that
	// was asked of it is pending.
	pendingPoll = 100 * time.Millisecond
	// pendingAgain: how often one pending request is sent again, in case its
	// answer was lost.
	pendingAgain = 250 * time.Millisecond
	// tickShort and tickLong bound the time between two looks at the asks of a path.
	tickShort = 2 * time.Millisecond
	tickLong  = 10 * time.Millisecond
	// oversleep: a timer later than this says that we did not run ourselves, so
	// that the silence was ours.
	oversleep = 10 * time.Millisecond
)

// The window (window.go).
const (
	initialWindow  = 32 << 10
	minWindow      = 8 << 10
	maxWindow      = 4 << 20
	windowStep     = 4 << 10 // growth in a round trip
	windowPieces   = 8       // requests that share the window
	leastPiece     = 4 << 10 // a request of less is out of proportion to its answer
	mostPiece      = 32 << 10
	morePieces     = 4                     // at most in one request
	stepTrip       = 10 * time.Millisecond // for each of which it grows by one step more
	maxSteps       = 8
	drainPart      = 0.8
	leastShrink    = 0.25
	mostShrink     = 0.7
	highRounds     = 2
	steepSamples   = 4  // that end slow start
	baseSlack      = 16 // a round trip that is longer by one part of it still confirms the base
	slackTrip      = 10 * time.Millisecond
	drainAfter     = 250 * time.Millisecond
	drainRounds    = 64 // at the earliest
	drainMost      = 6  // round trips
	heavyShrink    = 0.7
	heavyLossPart  = 3 // a third of the bytes of a round
	heavyLossBytes = 64 << 10
	minTargetDelay = time.Millisecond
	maxTargetDelay = 25 * time.Millisecond
	minRound       = time.Millisecond
)

// The target's side.
const (
	// MaxAnswer is the longest answer, in bytes of stored objects, that one
	// fetch may name.
	MaxAnswer = 4 << 20
	// MaxFetches is how many fetches a client carries at once; more wait in the
	// caller.
	MaxFetches = 1024
	// fetchSlots leaves room for fetches that came back, were found damaged and
	// start over while the caller has filled their places.
	fetchSlots = 2 * MaxFetches
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
	// maxPathAsks is how many ranges are under way on one path: a server takes
	// MaxReads, and some may still be in work there that count as lost here.
	maxPathAsks = MaxReads * 3 / 4
	// maxPending is how many bytes a server may owe that it has said are pending:
	// what a disk behind a network needs, and not more than a link bears at once.
	maxPending = 2 << 20
	// maxTries bounds the counter of re-sends, which only stretches timers.
	maxTries = 6
	// leastPayload is what a datagram carries at least on any path.
	leastPayload = 1024
	// leastSealed pads a client's datagrams: the check of a new address, which a
	// server may send in answer to one, is never longer.
	leastSealed = 48
	// heldMost is what an answer says that was held for longer than it can say.
	heldMost = 1<<16 - 1
	// darkLimit: so many times, a resend time apart, an answer did not come though
	// the server was heard.
	darkLimit = 5
	// cookiesTaken bounds the re-sends that cookies can cause.
	cookiesTaken = 3
	// clientReplayWindow in datagrams: trains of parallel receive paths may
	// overtake one another widely.
	clientReplayWindow = 1 << 16
)

// Log-in and change of server.
const (
	helloStagger   = 100 * time.Millisecond // between the first messages to two servers
	helloAgain     = 250 * time.Millisecond // first re-send of a first message
	helloAgainMax  = time.Second
	helloGiveUp    = 3 * time.Second // then a fresh handshake
	flightAgain    = 50 * time.Millisecond
	flightAgainMax = 500 * time.Millisecond
	maxFirst       = 1472 // a first message or a ticket flight is not longer
	attemptsMax    = 3    // servers asked at once
	retryAllMin    = 200 * time.Millisecond
	retryAllMax    = 2 * time.Second
	denyMin        = 500 * time.Millisecond // before a server that refused is asked again; doubled with each refusal
	denyMax        = 3 * time.Second
	penaltyMin     = 2 * time.Second
	penaltyMax     = 60 * time.Second
	lingerOld      = 4 * time.Second // a path whose server knows that it is over is listened to for so long
	// lingerLeft: a good-bye is repeated for as long as a server that did not hear
	// it may keep the session.
	lingerLeft   = sessionIdle + lingerOld
	noticeFirst  = 2500 * time.Millisecond // no server: say so, within three seconds
	noticeAgain  = 30 * time.Second
	statusEvery  = 10 * time.Second
	statusSoon   = time.Second // while the alternates are not known
	resumedLife  = time.Minute
	sessionLife  = time.Hour
	keyDatagrams = 1 << 26
	renewalAgain = 20 * time.Second
	plannedAgain = 250 * time.Millisecond
	leaveWithin  = 200 * time.Millisecond // a replaced path that still has answers to bring
	leaveAgain   = 100 * time.Millisecond // first repetition of a good-bye
	leaveMost    = 2 * time.Second        // between two of them
	// leaveWait: a client that ends says good-bye three times before it goes
	// without having been heard.
	leaveWait   = 3 * leaveAgain
	auxIdle     = 30 * time.Second
	repairAgain = 100 * time.Millisecond
	repairEach  = time.Second // between two tries with one server
	repairsMax  = 2           // servers asked for repair at once
	// repairGiveUp: a read that the serving server has no good copy for waits so
	// long for one that cannot be reached; a disk's command takes no longer.
	repairGiveUp = 30 * time.Second
	pauseSettles = time.Second // then a move is told, whatever the reads do
	restartAgain = time.Second // between two looks whether the server was restarted
	busyMove     = time.Second // within which a target follows a busy server's advice
	referralsMax = 4           // in a row; then the servers are asked anew, later
	leastProbes  = 2           // before a server counts as silent
	goneAgain    = time.Second // a store that is gone is looked for so often
	flightBytes  = unprovenBytes
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
	// jobBytes is how much of an answer one job may bring at once, sessionBytes
	// the memory that one session may hold with what was read and not sent.
	jobBytes     = 128 << 10
	sessionBytes = 2 << 20
	// Objects that a target may have verified: a second, and at once.
	checkRate  = 20
	checkBurst = 64
	offerAgain = time.Second
	// sessionMost is how long a session may last whose target does not renew it.
	sessionMost = sessionLife + sessionLife/6
	// checkSize is a datagram with a path check; it answers none that is shorter.
	checkSize = wire.SealedSize + wire.FrameHeaderSize + 8 + wire.TagSize
	// basePacket passes every path (RFC 9000 section 14.1 asks the same of its paths).
	basePacket   = 1200
	maxTrain     = 65507 // bytes of UDP payload, headers taken off
	maxSegments  = 64
	probeTries   = 3
	probeSlack   = 20 // by which the header of IPv6 is longer
	probeAgain   = 100 * time.Millisecond
	probeRetry   = 10 * time.Minute
	busyRetry    = 20 // milliseconds
	awayAgain    = 50 * time.Millisecond
	awayReminder = time.Second
	// awayAsks: a target that has not been heard while it was asked so often to
	// move, which takes two seconds, is not there any more.
	awayAsks    = 40
	checkAgain  = 100 * time.Millisecond
	ticketEvery = 5 * time.Minute
	epochLength = 30 * time.Minute
	slotSpacing = 2 * time.Millisecond // between two targets that move
	hintRate    = 1000                 // unsealed hints a second
	// flightRate is how many ticket flights a second are opened, at a few dozen
	// microseconds each; flightsPerTicket how many in halfOpenLife with one ticket.
	flightRate       = 20000
	flightsPerTicket = 4
	// reconnectWait: a reconnect is told to wait no longer than this.
	reconnectWait = time.Second
	bootWait      = 5 * time.Second
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
