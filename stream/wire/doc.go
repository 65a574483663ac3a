// Package wire turns messages of the stream protocol into bytes and back. It keeps no state, knows no keys and imports the
// standard library only. Datagrams are sealed and opened by package secure; what may be sent when is decided by package engine.
//
// All integers are little-endian. Sizes are bytes. str is u8 length + printable UTF-8. addr is 16 bytes (IPv4 mapped) + u16 port.
//
// # Datagrams
//
// Every datagram begins with 4 bytes:
//
//	kind u8 | 'S' | 'p' | wire version u8 = 1
//
// and goes on with a session index: the sender's own in Hello and Resume, the receiver's in all others.
//
//	1 Hello        target  index u32, min u8, max u8, cipher u8, flags u8, farm key id [8], noise length u16, reserved u16,
//	                       noise message 1, zero padding, mac1 [16], mac2 [16]                        at least 1200 in all
//	2 Welcome      server  receiver u32, index u32, noise length u16, reserved u16, noise message 2   never longer than its Hello
//	3 Cookie       server  receiver u32, nonce [24], sealed cookie [32]                               64
//	4 Sealed       both    receiver u32, counter u64 | sealed frames, tag [16]                        header 16
//	5 Resume       target  index u32, cipher u8, flags u8, ticket length u16, ticket, target random [32], sealed length u16,
//	                       sealed frames with tag, zero padding, mac1 [16], mac2 [16]                 at least 1200 in all
//	6 SealedFirst  server  receiver u32, counter u64, index u32, server random [16], server id [16] | sealed frames, tag [16]
//	                                                                                                  header 52
//	7 Hint         server  receiver u32, hint u8, min u8, max u8, reserved u8, counter u64            20
//
// min and max are protocol versions. Headers of kinds 4 and 6 are the additional data of their seal.
//
// # Frames
//
// What is sealed in kinds 4, 5 and 6 is a sequence of frames:
//
//	type u8 | length u16 | body
//
// Target to server:
//
//	1 Read          id u32, level u8, priority u8, count u16, first u64, n u8, n × (from u32, to u32)
//	2 Status        seq u32, bytes u64, reads u64, lost u32, late u32, busy u32, rtt µs u32, window u32, packet u16,
//	                longest pause ms u32, failovers u32, flags u8,
//	                boot stages since the kernel's start, ms, 0 unknown: modules u32, network u32, log-in u32, attached u32,
//	                root mounted u32, init started u32; when this was sent u32
//	3 Leave         reason u8, pause µs u32
//	4 Bad           level u8, index u64
//	5 Size          largest u16
//	6 GoingAwayAck  number u32
//	7 PathAnswer    token u64
//	8 Ping          token u32
//
// Server to target:
//
//	16 Data          id u32, position u32, total u32, held u16 (16 µs units), payload
//	17 Pending       id u32
//	18 Busy          id u32 (0: the whole session), retry after ms u16, instead str
//	19 Failed        id u32, level u8, index u64, code u8
//	20 GoingAway     number u32, reason u8, deadline ms u32, slot ms u32, proposed str
//	21 Alternates    n u8, n × (name str, id [16], addr, state u8, load u16, same zone u8), note str
//	22 Ticket        length u16, ticket, secret [32], lifetime ms u32
//	23 StatusReply   seq u32
//	24 Probe         size u16
//	25 PathCheck     token u64
//	26 Pong          token u32
//	27 Closed        code u16, sentence str (code 0: the answer to Leave)
//
// Either way:
//
//	0 Pad           no length, no body: the rest of the datagram is ignored
//
// # Log-in
//
// The payload of noise message 1:
//
//	features u64, mac [6], flags u16, vdisk str, number u32, label str, program str,
//	has content u8 (root [32], timestamp i64), n u8, n × avoid str
//
// The payload of noise message 2, behind what package secure puts before it:
//
//	result u8, code u16, version u8, features u64, server id [16], server str, retry after ms u32, sentence str (busy and deny; else empty),
//	accept and refer: name str, number u32, root [32], timestamp i64, size i64, sector u32, chunk u32, levels u8, mode u8
//	refer:            n u8, n × (name str, id [16], addr)
//	accept and refer: has ticket u8 (length u16, ticket, secret [32], lifetime ms u32)
//	accept and refer: boot [32], the digest of what the version is booted with; zero: nothing
//
// # The version rule
//
// Numbers (kinds, frames, codes, flags) are appended and never get a new meaning. A receiver skips frame types that it does not
// know, ignores flags and feature bits that it does not know, and ignores bytes behind the end of a body that it knows: so a
// message grows at its end, and only there. Where a message of an older sender ends before a field that was appended (boot in the
// log-in reply, the boot stages in Status), the field is zero; one that ends within it is truncated. What cannot be said that way
// raises the protocol version, which Hello negotiates.
//
// The wire version is raised only when a clear header changes. Whatever it becomes, these stay: the four bytes of the prefix, the
// index behind them, min and max in Hello, and the whole of Hint. So a server can tell any target, and a target any server, that they
// speak different versions.
package wire
