package loadbalance

import (
	"net/netip"
	"time"
)

// State is what a server's stream service does.
type State uint8

// The states of a stream service as its peers know them.
const (
	Unheard State = iota // configured, never heard of
	Serving              // logs targets in
	Leaving              // moves its targets away and takes no new ones
	Stopped              // the program runs, the stream service does not
	Silent               // its peers no longer hear it
)

// Replica is how a server's copy of the wanted version compares with the one that is to be served.
type Replica uint8

// The ways in which a replica can differ. Only Identical is eligible.
const (
	Missing           Replica = iota // the server holds no such version
	Identical                        // same content, same timestamp
	OtherTimestamp                   // same content, other timestamp: eligible once adopted
	StoredDifferently                // same disk, stored in another way: eligible once adopted
	OtherContent                     // another disk under the same name and number
	Damaged                          // parts of it are fenced; a peer's copy is better
)

// Tag is an administrator's word on one replica, which overrides tiers.
type Tag uint8

// The tags of a replica.
const (
	Untagged  Tag = iota
	Primary       // before every untagged replica
	Secondary     // after every untagged replica
)

// Server is one server as the chooser sees it, with regard to the version that the target wants.
type Server struct {
	Name string
	Zone string
	// Subnets are the networks that count as near to the server.
	Subnets []netip.Prefix
	// Tier is the order of preference among groups of servers; 1 comes before 2.
	Tier  int
	State State
	// Heard is the time since the server was last heard of; it is only shown, and zero when unknown.
	Heard time.Duration
	// Returned is the time since the server came back after its peers had lost it; zero when it never was lost.
	Returned time.Duration

	Replica Replica
	Tag     Tag

	// Power is the rating of the server relative to the others; zero or less counts as 1.
	Power float64
	// Limit is the number of sessions that the server takes; zero means no limit.
	Limit int
	// Sessions is the number of targets in the server's last report, Assigned the number of those that were
	// sent to it since.
	Sessions, Assigned int
	// QueueDelay is how long a read waits for the server's disks, by its last report.
	QueueDelay time.Duration
	// EgressBytes is the rate at which the server sends, in bytes a second, by its last report.
	EgressBytes float64
}

// Target is the device that asks for a server.
type Target struct {
	// ID names the device; the hashes that spread targets over servers are made of it.
	ID   string
	Zone string
	Addr netip.Addr
	// Current is the server that serves the target now, empty for none.
	Current string
	// Reconnect tells that the target was served until a moment ago: it is not refused for load.
	Reconnect bool
	// Avoid names servers that the target itself found silent or that failed its reads.
	Avoid []string
}

// Affinity tells how much it matters that a server is near.
type Affinity uint8

// The degrees of affinity.
const (
	AffinityNone    Affinity = iota // everywhere is the same
	AffinityPrefer                  // near servers come first inside their tier
	AffinityRequire                 // only near servers are eligible
)

// Nearness tells what near means.
type Nearness uint8

// The measures of nearness.
const (
	SameZone   Nearness = iota // target and server are in one zone
	SameSubnet                 // the target's address is in one of the server's subnets
)

// Policy is what an administrator decides for a collection of devices.
type Policy struct {
	// VDisk is the wanted vDisk as people write it, such as "debian12 @ 3"; it appears in reasons only.
	VDisk    string
	Affinity Affinity
	By       Nearness
	// Hold is how long a server that came back waits until it is preferred again.
	Hold time.Duration
	// Allowed names the servers that may serve the collection; nil means all.
	Allowed []string
}
