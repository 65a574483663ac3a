package farm

import (
	"cmp"
	"slices"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/loadbalance"
)

// Content names what a version holds: two replicas with the same Content are interchangeable.
type Content struct {
	Root      Digest `json:"root"`
	Timestamp int64  `json:"timestamp"` // unix nanoseconds, from the seal; compared for equality only
}

// tag is what boot scripts say of it: the begin of the root, which covers the boot files too.
func (c Content) tag() string { return c.Root.String()[:bootsvc.ContentDigits] }

// Replica is one server's copy of a version.
type Replica struct {
	Store  string `json:"store"`
	VDisk  string `json:"vdisk"`
	Number uint32 `json:"number"`
	Content
	// Disk is the hash of the logical disk, the same however it is stored.
	Disk Digest `json:"disk"`
	// Size is the disk's, Stored the file's, in bytes.
	Size   int64 `json:"size"`
	Stored int64 `json:"stored"`
	// Sector and Chunk are the sizes of a sector and of a chunk in bytes, Levels the number of page levels:
	// with them a target can begin before it has met the server that it is referred to.
	Sector uint32 `json:"sector"`
	Chunk  uint32 `json:"chunk"`
	Levels uint8  `json:"levels"`
	// Fenced is the number of damaged chunks and pages, which other servers are asked for.
	Fenced int `json:"fenced,omitempty"`
	// Boot is what it carries for booting.
	Boot ReplicaBoot `json:"boot,omitzero"`
	// Problem says why the replica cannot be served at all; empty when it can.
	Problem string `json:"problem,omitempty"`
}

// ReplicaBoot is what a replica carries for booting.
type ReplicaBoot struct {
	// Digest is that of all of it; the version's root depends on it.
	Digest Digest `json:"digest"`
	// Kernel and Image tell whether there is a kernel and a boot image.
	Kernel      bool   `json:"kernel,omitempty"`
	Image       bool   `json:"image,omitempty"`
	CommandLine string `json:"command_line,omitempty"`
	// Problem says what is wrong with this replica's part for booting; it can be served all the same.
	Problem string `json:"problem,omitempty"`
}

// holder is a server that is listed for a store, with its replicas of one vDisk.
type holder struct {
	server   string
	live     bool
	replicas map[uint32]Replica
}

// Offer is what a vDisk's plain name stands for.
type Offer struct {
	// Found is false when no live server holds anything of the vDisk.
	Found   bool
	Number  uint32
	Content Content
	// Whole tells that every live server listed for the store holds the version identically.
	Whole bool
	// Lacking says which live servers do not hold it, when it is not Whole.
	Lacking []Lack
	// Pending are the higher versions, highest first, which some server lacks.
	Pending []Pending
}

// Pending is a version that is not offered yet.
type Pending struct {
	Number  uint32 `json:"number"`
	Lacking []Lack `json:"lacking"`
}

// Lack says that a server does not hold a version identically, and in which way.
type Lack struct {
	Server string `json:"server"`
	Why    string `json:"why"`
}

// offered decides what a vDisk's plain name stands for. Holders come in the order of the farm file.
func offered(holders []holder) Offer {
	var partial []Offer // versions that some live server holds, highest first
	for _, number := range numbers(holders) {
		want, ok := reference(holders, number)
		if !ok {
			continue
		}
		o := Offer{Number: number, Content: want.Content}
		for _, h := range holders {
			if !h.live {
				continue
			}
			if state := h.compare(number, want); state == loadbalance.Identical {
				o.Found = true
			} else {
				o.Lacking = append(o.Lacking, Lack{h.server, lacks(state, h.replicas[number])})
			}
		}
		if o.Found && len(o.Lacking) == 0 {
			o.Whole, o.Pending = true, pendingOf(partial)
			return o
		}
		partial = append(partial, o)
	}
	// Nothing is held by all: the highest version that any live server holds, rather than nothing.
	for i, o := range partial {
		if o.Found {
			o.Pending = pendingOf(partial[:i])
			return o
		}
	}
	return Offer{Pending: pendingOf(partial)}
}

func pendingOf(offers []Offer) []Pending {
	var all []Pending
	for _, o := range offers {
		all = append(all, Pending{o.Number, o.Lacking})
	}
	return all
}

// numbers lists every version that any holder has, highest first.
func numbers(holders []holder) []uint32 {
	var all []uint32
	for _, h := range holders {
		for n := range h.replicas {
			all = append(all, n)
		}
	}
	slices.SortFunc(all, func(a, b uint32) int { return cmp.Compare(b, a) })
	return slices.Compact(all)
}

// reference decides which content a version's number stands for when replicas differ: the one that most
// servers hold, dead or alive, and among equals that of the server which the farm file names first. Dead
// servers count, so that the death of one does not make another's differing replica the right one.
func reference(holders []holder, number uint32) (Replica, bool) {
	var (
		best  Replica
		votes int
	)
	for _, h := range holders {
		r, ok := h.replicas[number]
		if !ok || r.Problem != "" {
			continue
		}
		n := 0
		for _, other := range holders {
			if o, ok := other.replicas[number]; ok && o.Problem == "" && o.Content == r.Content {
				n++
			}
		}
		if n > votes {
			best, votes = r, n
		}
	}
	return best, votes > 0
}

// compare says how the holder's replica of a version relates to the one that is wanted. Without a known disk
// hash in want, "stored differently" cannot be told from "other content".
func (h holder) compare(number uint32, want Replica) loadbalance.Replica {
	r, ok := h.replicas[number]
	switch {
	case !ok:
		return loadbalance.Missing
	case r.Problem != "":
		return loadbalance.Damaged
	case r.Content == want.Content:
		return loadbalance.Identical
	case r.Root == want.Root:
		return loadbalance.OtherTimestamp
	case r.Disk == want.Disk && want.Disk != Digest{}:
		return loadbalance.StoredDifferently
	default:
		return loadbalance.OtherContent
	}
}

// lacks says in words why a replica is not the wanted one.
func lacks(state loadbalance.Replica, r Replica) string {
	switch state {
	case loadbalance.Missing:
		return "no replica"
	case loadbalance.Damaged:
		return r.Problem
	case loadbalance.OtherTimestamp:
		return "same content, other timestamp"
	case loadbalance.StoredDifferently:
		return "same disk, stored differently"
	default:
		return "other content, root " + r.Root.Short()
	}
}
