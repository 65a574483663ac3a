package udp

import (
	"bytes"
	"errors"
	"testing"
)

// datagramsIn is the number of datagrams in a train of length bytes cut every segment bytes.
func datagramsIn(length, segment int) int { return (length + segment - 1) / segment }

// A train never asks the kernel for more than it takes, and as much as fits.
func TestTrainLengthIsTheMostThatFitsOneCall(t *testing.T) {
	for _, c := range []struct{ segment, want int }{
		{-1, 1}, {0, 1}, {1, 64}, {1023, 64}, {1024, 63}, {1200, 54}, {1432, 45}, {1472, 44},
		{8972, 7}, {32753, 2}, {32754, 1}, {65000, 1}, {65507, 1}, {70000, 1},
	} {
		if got := TrainLength(c.segment); got != c.want {
			t.Errorf("TrainLength(%d) = %d, want %d", c.segment, got, c.want)
		}
	}
}

// Cutting a train into calls and datagrams loses, adds and reorders no byte, and only the last datagram is short.
func TestCuttingATrainKeepsEveryByte(t *testing.T) {
	train := make([]byte, 200_000)
	for i := range train {
		train[i] = byte(i * 7 >> 3)
	}
	for _, segment := range []int{1, 999, 1472, 8972, 65000, 65507, 199_999, 200_000, 300_000} {
		var whole []byte
		datagrams := 0
		for rest := train; len(rest) > 0; {
			var call []byte
			call, rest = cut(rest, segment)
			if len(call) > MaxTrain && len(call) > segment {
				t.Fatalf("segment %d: a call of %d bytes", segment, len(call))
			}
			if len(rest) > 0 && len(call)%segment != 0 {
				t.Fatalf("segment %d: a call of %d bytes cuts a datagram", segment, len(call))
			}
			b := Batch{Data: call, Segment: segment}
			for d := range b.All() {
				datagrams++
				whole = append(whole, d...)
				if len(d) != segment && len(whole) != len(train) {
					t.Fatalf("segment %d: a short datagram in the middle", segment)
				}
			}
		}
		if !bytes.Equal(whole, train) {
			t.Errorf("segment %d: the bytes are not the same", segment)
		}
		if want := datagramsIn(len(train), segment); datagrams != want {
			t.Errorf("segment %d: %d datagrams, want %d", segment, datagrams, want)
		}
	}
}

// A receiver that writes behind one datagram must not reach into the next.
func TestDatagramsOfABatchHaveNoSpareCapacity(t *testing.T) {
	b := Batch{Data: []byte("aabbc"), Segment: 2}
	for d := range b.All() {
		_ = append(d, 'x')
	}
	first, rest := Split(b.Data, 2)
	_ = append(first, 'x')
	if string(b.Data) != "aabbc" || string(rest) != "bbc" {
		t.Errorf("data %q, rest %q", b.Data, rest)
	}
}

func TestTrainsThatCannotBeSentAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		length, segment int
		want            error
	}{
		"no bytes":          {0, 100, errSegment},
		"no segment length": {10, 0, errSegment},
		"too long":          {70000, 70000, ErrTooBig},
		"longest":           {65507, 65507, nil},
		"short of segment":  {10, 70000, nil},
	} {
		if err := checkTrain(make([]byte, c.length), c.segment); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
