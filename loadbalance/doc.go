// Package loadbalance chooses the server of a target device: pure functions over plain values, with no clock,
// no socket and no memory, that return the reason for every server they considered in words.
//
// # Choose
//
// The rules apply in this order; the first that distinguishes two servers decides:
//
//  1. Eligibility. The server is alive, its stream service runs, its replica is identical, the collection
//     allows it, and it is not full (a reconnecting target is never refused for load). An affinity that is
//     required counts here: a server elsewhere is not eligible.
//  2. Servers that the target itself found silent come after all others.
//  3. Servers that came back a moment ago come after those that stayed, until the hold time is over.
//  4. A replica tagged primary comes before all untagged ones and a secondary after them, whatever the tiers.
//  5. Tier: a server of the next tier counts only while none of the better tier is available.
//  6. Preferred affinity: same zone or same subnet before elsewhere.
//  7. Stickiness: the server that serves the target now keeps it unless it is much busier than the best.
//  8. Least busy: of the servers within 10 % (or one target) of the best, two are drawn by the hash of the
//     device, and the less busy one of the two is chosen. Choosers that cannot see one another's assignments
//     therefore do not all run to the same server.
//
// The servers that were not chosen are the target's alternates. They are ranked by rules 2 to 6 and then by
// weighted rendezvous hashing of device and server over power and free capacity: the targets of a server that
// dies spread over all survivors by what these can carry, and the order of the others does not change when one
// leaves.
//
// # Load
//
// Load is counted in targets a unit of power. What a server really carries is the sum of its sessions and of
// the log-ins sent to it since its last report, over its power rating, plus what its queue delay and its
// egress rate amount to in targets (see Load).
//
// # Rebalance
//
// Rebalance proposes a few moves of running targets at a time, and none when there are too few targets to
// matter or so many of them booting that the picture is about to change.
package loadbalance
