//go:build !race

package wire

import "testing"

// The packet path writes and reads Read, Data and Pending without allocating.
func TestBlockFramesDoNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	payload := make([]byte, 1400)
	read := Read{ID: 1, Count: 4, N: 2, Ranges: [MaxRanges]Range{{0, 10}, {20, 30}}}
	frames := Data{ID: 1, Total: 1400, Payload: payload}.Append(Pending{1}.Append(read.Append(nil)))
	var sum uint32
	n := testing.AllocsPerRun(1000, func() {
		b := AppendDataHeader(buf, Data{ID: 1, Total: 1400, Payload: payload})
		b = Sealed{Receiver: 1, Counter: 2}.Append(b)
		b = Pending{1}.Append(read.Append(b))
		sum += uint32(len(b))
		for rest := frames; len(rest) > 0; {
			typ, body, more, err := Next(rest)
			if err != nil {
				t.Fatal(err)
			}
			switch rest = more; typ {
			case FrameRead:
				f, err := ParseRead(body)
				if err != nil {
					t.Fatal(err)
				}
				sum += f.ID + uint32(f.N)
			case FrameData:
				f, err := ParseData(body)
				if err != nil {
					t.Fatal(err)
				}
				sum += f.Total
			case FramePending:
				f, err := ParsePending(body)
				if err != nil {
					t.Fatal(err)
				}
				sum += f.ID
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}
