package udp

import (
	"errors"
	"fmt"
	"iter"
)

// maxErrors is how many errors that are not about a datagram a receive call swallows in a row before it gives up.
const maxErrors = 64

var (
	errSegment     = errors.New("a train needs a segment length of at least 1 and at least one byte")
	errShortBuffer = errors.New("the receive buffer is shorter than MaxReceive")
)

// TrainLength is the number of datagrams of segment bytes that fit one system call, at least 1.
func TrainLength(segment int) int {
	if segment <= 0 {
		return 1
	}
	return max(1, min(MaxSegments, MaxTrain/segment))
}

// All gives the datagrams of the batch in the order of arrival. They alias Buf.
func (b *Batch) All() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := b.Data; len(rest) > 0; {
			n := len(rest)
			if b.Segment > 0 && b.Segment < n {
				n = b.Segment
			}
			if !yield(rest[:n:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// Split cuts off the first datagram of rest and returns it and what remains, for callers that walk a batch by hand.
func Split(rest []byte, segment int) (datagram, remaining []byte) {
	if segment <= 0 || segment >= len(rest) {
		return rest, nil
	}
	return rest[:segment:segment], rest[segment:]
}

// cut takes as many whole datagrams off the front of train as one system call may carry.
func cut(train []byte, segment int) (call, rest []byte) {
	n := TrainLength(segment) * segment
	if n >= len(train) {
		return train, nil
	}
	return train[:n], train[n:]
}

// checkTrain refuses trains that no socket could send.
func checkTrain(train []byte, segment int) error {
	switch {
	case len(train) == 0 || segment <= 0:
		return errSegment
	case min(segment, len(train)) > MaxTrain:
		return fmt.Errorf("a datagram of %d bytes: %w", min(segment, len(train)), ErrTooBig)
	}
	return nil
}
