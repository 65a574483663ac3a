// Package secure makes and opens every datagram of the stream protocol. It is pure: randomness and time are arguments, nothing is
// sent, nothing is kept beyond the values that callers hold (the one exception is told at Cookies).
//
// # Keys
//
// A farm has one secret of 32 random bytes, which only servers hold. HKDF-SHA256 with a label each gives the farm's X25519 pair,
// the key that ticket keys are expanded from (one an epoch), and the key that servers encrypt their gossip with. Targets carry the
// farm's public key. Every use names its key by id, and two generations are understood at once.
//
// # Full handshake
//
// Noise_IKpsk2_25519_ChaChaPoly_SHA256: the target knows the farm's public key, sends its own sealed, and both mix in a pre-shared
// key (32 zero bytes: none; the pattern is always the same). The prologue is a label and the whole clear header of the Hello. The
// clear header of the Welcome cannot be in it, so its only free field, the server's index, is repeated inside the seal, and that
// one counts. A Hello ends
// with WireGuard's two MACs: mac1 shows that the sender knows the farm's public key, mac2 that it receives where it claims to be.
//
// # Resumption
//
// A target shows a ticket, which any server of the farm can open, and seals its pending reads under
//
//	HKDF(ticket secret, salt = target random, "spate resume flight v1" | cipher)
//
// The server draws 16 random bytes; the session's two keys are
//
//	HKDF(ticket secret, salt = target random | server random, "spate resumed session v1" | server id | cipher)
//
// target to server first. Server random and server id travel in clear in every datagram until the server has received one under
// these keys. A flight can be replayed at any server; each draws its own random, so keys never meet again.
//
// # Transport
//
// AES-256-GCM or ChaCha20-Poly1305, sealed in place. The nonce is four zero bytes and the 64-bit counter, little-endian; the clear
// header is the additional data. A key serves one direction of one session. Counters end at MaxCounter, long after a session
// should have been renewed. Openers accept each counter once.
//
// # What an attacker can do
//
// Whoever forges or changes a datagram gets it dropped, and no state changes: a failed Welcome or Cookie leaves the handshake as it
// was. Whoever replays a Hello or a flight makes a server answer with no more bytes than it received. Comparisons of MACs and tags take
// constant time; ids of keys are public. Types that hold secrets print as "(secret)", whatever the verb.
package secure
