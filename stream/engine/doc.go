// Package engine holds the protocol logic of both ends as values that are
// stepped: no sockets, no goroutines, no clock, no disk. Time, randomness and
// datagrams are arguments; what is to be done comes out. Whatever is hard about
// the protocol is here, and a simulation of whole farms steps it from a seed.
//
// # The target's end
//
// A [Client] logs in, pulls objects with [Fetch]es and keeps being served. Each
// session, also one that is only being tried, is a path. One path serves; a
// planned move opens the next path before the old one is left; when the serving
// server falls silent, ticket flights go to the alternates while the old path
// is still listened to, and whichever answers first serves.
//
// A fetch names consecutive objects of one level. Its answer is the
// concatenation of their stored bytes, the same from every server that holds
// the content, so its missing bytes may be asked of anyone, as ranges. Each
// range that was asked for is an ask; asks are all that is remembered about
// what is missing. A server sends the bytes of an ask in order, so a piece
// behind a hole makes the hole a gap, and two newer datagrams make the gap due
// again. Counters of datagrams tell of losses at the end of an answer. A server
// promises to answer each request within 5 ms, with data or with pending, so an
// ask that was overtaken by later ones has been lost. Only then come timers.
//
// Silence means dead, slowness does not. What a server has said is pending may
// take as long as it takes; it is asked for a sign of life now and then. A
// server that owes an answer and from which nothing at all comes is asked again,
// several times within 80 ms, and then another one is asked too.
//
// When bytes do not verify, their server is told, and the read is repeated: by
// another server when one has supplied all of it, else by one of them alone, so
// that it shows which is wrong. Such reads, and those for which the serving
// server has no good copy, travel on a path for repair beside the serving one.
//
// How much may be under way is told by a window that measures queues by their
// delay (window.go). What is pending waits for a disk and does not count.
//
// # The server's end
//
// A [Server] handles what comes before sessions: first messages, tickets,
// budgets. A [Session] answers one target: requests become [Job]s, finished
// jobs become datagrams when [Session.Fill] is called, and only then are
// counters given, so that nothing is sealed that is not sent. A [Schedule]
// shares the sending between sessions.
//
// What one target can make a server hold or do is bounded: requests in work,
// bytes read and not sent, objects to verify, frames queued, flights with one
// ticket. What is beyond a bound is refused and counted, never waited for.
//
// # Invariants
//
//   - A (key, counter) pair seals one datagram, ever.
//   - An unproven address gets no more bytes than it sent, but for a ticket that
//     names it, which is good for 64 KiB.
//   - Unsealed answers and the network's errors are hints: they are shown, or
//     answered by a probe; they end, move and refuse nothing.
//   - A read fails only when every server that could be asked within 30 s has
//     said that its copy is bad, or when a limit of waiting was configured.
//   - Instants of two machines are never compared.
package engine
