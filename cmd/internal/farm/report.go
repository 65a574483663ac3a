package farm

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spate-project/spate/vdisk"
)

// StreamState is what a server's stream service does.
type StreamState string

// The states of a stream service.
const (
	StreamServing StreamState = "serving" // logs targets in
	StreamLeaving StreamState = "leaving" // moves its targets away and takes no new ones
	StreamStopped StreamState = "stopped" // the program runs, the stream service does not
)

// Load is what a server carries.
type Load struct {
	State    StreamState `json:"state"`
	Sessions int         `json:"sessions"`
	Booting  int         `json:"booting"`
	// QueueDelay is how long a read waits for the disks.
	QueueDelay time.Duration `json:"queue"`
	// Egress is the sending rate in bytes a second.
	Egress float64 `json:"egress"`
}

// Meta is what a server tells about itself once, with its membership. Start is drawn at random when the
// server starts; what a server says counts only under the start number of its present membership.
type Meta struct {
	Start uint64 `json:"start"`
	// ID is the server's id in the stream protocol.
	ID Digest16 `json:"id"`
	// Stream is the address of its stream service.
	Stream netip.AddrPort `json:"stream"`
	// Program is the version of its program.
	Program string `json:"program"`
}

// Digest16 is an identity of 16 random bytes.
type Digest16 [16]byte

// MarshalText writes the identity in hex.
func (d Digest16) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", d[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest16) UnmarshalText(b []byte) error { return unhex(d[:], b) }

// report is what a server tells every other one once a second.
type report struct {
	From  string `json:"from"`
	Start uint64 `json:"start"`
	Seq   uint64 `json:"seq"`
	Load
	// Config is the hash of the server's farm file, Inventory the digest of its inventory.
	Config    Digest `json:"config"`
	Inventory Digest `json:"inventory"`
	// Epoch is the number of the present epoch of ticket keys.
	Epoch uint32 `json:"epoch"`
}

// inventory is all that a server holds.
type inventory struct {
	From     string    `json:"from"`
	Start    uint64    `json:"start"`
	Seq      uint64    `json:"seq"`
	Replicas []Replica `json:"replicas"`
}

// wish asks a server for its inventory.
type wish struct {
	From string `json:"from"`
}

// messageKind is the first byte of what servers send each other; JSON follows.
type messageKind byte

const (
	kindReport    messageKind = 'R'
	kindInventory messageKind = 'I'
	kindWish      messageKind = 'W'
	kindCall      messageKind = 'C'
	kindAnswer    messageKind = 'A'
	kindCancel    messageKind = 'X'
)

const (
	maxMessageBytes = 4 << 20
	maxMetaBytes    = 512 // memberlist's own bound
	maxReplicas     = 4096
	maxTextBytes    = 1024
)

var errMalformed = errors.New("malformed message")

// encode makes a message of its kind and value. The types of this file always encode.
func encode(k messageKind, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("farm: encode %T: %v", v, err))
	}
	return append([]byte{byte(k)}, b...)
}

// decode takes a message apart and checks its bounds. The result is one of report, inventory, wish, call,
// answer and cancel, by value; unknown fields are ignored, so that later servers may say more.
func decode(b []byte) (any, error) {
	if len(b) < 2 || len(b) > maxMessageBytes {
		return nil, errMalformed
	}
	switch messageKind(b[0]) {
	case kindReport:
		return decodeAs(b[1:], report.check)
	case kindInventory:
		return decodeAs(b[1:], inventory.check)
	case kindWish:
		return decodeAs(b[1:], func(w wish) error { return checkName(w.From) })
	case kindCall:
		return decodeAs(b[1:], call.check)
	case kindAnswer:
		return decodeAs(b[1:], answer.check)
	case kindCancel:
		return decodeAs(b[1:], func(c cancel) error { return checkName(c.From) })
	}
	return nil, fmt.Errorf("%w: unknown kind %q", errMalformed, b[0])
}

func decodeAs[T any](b []byte, check func(T) error) (any, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if err := check(v); err != nil {
		return nil, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return v, nil
}

func (r report) check() error {
	switch {
	case r.State != StreamServing && r.State != StreamLeaving && r.State != StreamStopped:
		return errors.New("unknown state")
	case r.Sessions < 0 || r.Booting < 0 || r.QueueDelay < 0 || r.Egress < 0:
		return errors.New("negative load")
	}
	return checkName(r.From)
}

func (i inventory) check() error {
	if len(i.Replicas) > maxReplicas {
		return fmt.Errorf("%d replicas", len(i.Replicas))
	}
	for _, r := range i.Replicas {
		if err := errors.Join(checkName(r.Store), checkName(r.VDisk)); err != nil {
			return err
		}
		if r.Number > maxVersion || r.Size < 0 || r.Stored < 0 || r.Fenced < 0 || len(r.Problem) > maxTextBytes ||
			len(r.Boot.CommandLine) > vdisk.MaxCommandLine || len(r.Boot.Problem) > maxTextBytes {
			return errors.New("a replica is out of bounds")
		}
	}
	return checkName(i.From)
}

// encodeMeta makes the metadata of a membership.
func encodeMeta(m Meta) ([]byte, error) {
	b, err := json.Marshal(m)
	if err == nil && len(b) > maxMetaBytes {
		err = fmt.Errorf("%d bytes of metadata, at most %d fit", len(b), maxMetaBytes)
	}
	return b, err
}

// decodeMeta reads the metadata of a membership.
func decodeMeta(b []byte) (Meta, error) {
	var m Meta
	if len(b) > maxMetaBytes {
		return m, errMalformed
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %w", errMalformed, err)
	}
	return m, nil
}

// arrange sorts an inventory and cuts it to what can be told; it says how many replicas were left out.
func arrange(replicas []Replica) (sorted []Replica, left int) {
	sorted = slices.Clone(replicas)
	slices.SortFunc(sorted, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.VDisk, b.VDisk), cmp.Compare(b.Number, a.Number))
	})
	for i := range sorted {
		sorted[i].Problem = sorted[i].Problem[:min(len(sorted[i].Problem), maxTextBytes)]
		sorted[i].Boot.Problem = sorted[i].Boot.Problem[:min(len(sorted[i].Boot.Problem), maxTextBytes)]
	}
	if left = len(sorted) - maxReplicas; left > 0 {
		return sorted[:maxReplicas], left
	}
	return sorted, 0
}

// digest is the digest of an arranged inventory.
func digest(replicas []Replica) Digest {
	h := sha256.New()
	for _, r := range replicas {
		b := r.Boot
		fmt.Fprintf(h, "%q %q %d %x %d %x %d %d %d %d %d %d %q %x %t %t %q %q\n", r.Store, r.VDisk, r.Number, r.Root[:], r.Timestamp,
			r.Disk[:], r.Size, r.Stored, r.Sector, r.Chunk, r.Levels, r.Fenced, r.Problem, b.Digest[:], b.Kernel, b.Image, b.CommandLine, b.Problem)
	}
	return Digest(h.Sum(nil))
}
