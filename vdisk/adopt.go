package vdisk

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// AdoptOptions are those of Adopt.
type AdoptOptions struct {
	// Like is the identity of the replica that this one shall be identical to; its root must be the same. With
	// Like zero the version gets Timestamp, or the present time where that is zero too.
	Like      ID
	Timestamp int64
	Who       string // user and host, for the seal; cut at 128 bytes
	Now       func() time.Time
	Verify    VerifyOptions

	files files
}

// ErrOtherContent means that a replica holds something else than the one it was to be made identical to.
var ErrOtherContent = errors.New("holds other content")

// ErrUnsound means that a replica is damaged and was therefore left as it is.
var ErrUnsound = errors.New("is damaged")

// Adopt makes the replica in the file at path one that counts: after the whole file was verified it gets a new
// timestamp, that of the peer it shall be identical to, or a new one. Both seal slots are written, one after
// the other, with a sync after each, so that one is good at any moment. The report is that of the
// verification; the error wraps ErrUnsound when it found anything wrong with more than one slot of the seal
// or the header.
func Adopt(ctx context.Context, path string, o AdoptOptions) (*Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.files == nil {
		o.files = system{}
	}
	v, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	id := ID{Root: v.seal.id.Root, Timestamp: o.Timestamp}
	switch {
	case o.Like != ID{}:
		if o.Like.Root != id.Root {
			return nil, fmt.Errorf("adopt %s version %d: %w: root %s, wanted %s; take the file itself from the other store",
				v.Name(), v.Number(), ErrOtherContent, id.Root.Short(), o.Like.Root.Short())
		}
		id = o.Like
	case id.Timestamp == 0:
		id.Timestamp = o.Now().UnixNano()
	}
	report, err := v.Verify(ctx, o.Verify)
	if err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	for _, d := range report.Damage {
		if d.Level >= 0 || d.Part == sealPart || d.Boot {
			return report, fmt.Errorf("adopt %s version %d: %w (%s: %s)", v.Name(), v.Number(), ErrUnsound, d.Part, d.Reason)
		}
	}
	s := v.seal
	s.id, s.written, s.who = id, o.Now().UnixNano(), cut(o.Who, maxWho)
	if err := writeSeal(path, &s, v.sealErr, o.files); err != nil {
		return report, fmt.Errorf("adopt %s version %d: %w", v.Name(), v.Number(), err)
	}
	report.ID = id
	return report, nil
}

// writeSeal replaces both slots by s, first the one that does not count, and the header if it is damaged.
func writeSeal(path string, s *seal, wrong [slots + 1]error, fs files) error {
	f, err := fs.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var tail [slots * blockSize]byte
	if _, err := f.ReadAt(tail[:], s.file-int64(len(tail))); err != nil {
		return err
	}
	var pair [slots]*seal
	for i := range pair {
		pair[i], _ = parseSeal(tail[i*blockSize:][:blockSize], s.file)
	}
	now, counts := newer(pair)
	if now == nil || now.id.Root != s.id.Root || now.sequence != s.sequence {
		return errors.New("the file changed meanwhile")
	}
	for _, i := range []int{1 - counts, counts} {
		s.sequence++
		if _, err := f.WriteAt(encodeSeal(s), s.file-int64(slots-i)*blockSize); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if wrong[slots] != nil {
		if _, err := f.WriteAt(encodeHeader(&s.description), 0); err != nil {
			return err
		}
		return f.Sync()
	}
	return nil
}
