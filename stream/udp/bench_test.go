package udp

import (
	"fmt"
	"testing"
	"time"
)

// Throughput of one sender and one receiver over loopback. The sender stays at most a window ahead, so that nothing is
// lost and the figure is what arrives.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name    string
		segment int
		o       Options
	}{
		{"segments of 65000", 65000, Options{}}, {"segments of 1472", 1472, Options{}}, {"segments of 8972", 8972, Options{}},
		{"no offloads, 1472", 1472, Options{NoGSO: true, NoGRO: true}}, {"no GRO, 1472", 1472, Options{NoGRO: true}},
	} {
		b.Run(c.name, func(b *testing.B) { stream(b, c.segment, c.o) })
	}
}

func stream(b *testing.B, segment int, o Options) {
	const window = 16
	send, receive := listen(b, "127.0.0.1:0", o), listen(b, "127.0.0.1:0", o)
	if err := receive.SetReadDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	train, there := pattern(TrainLength(segment)*segment), to(receive, "127.0.0.1")
	credit := make(chan struct{}, window)
	for range window {
		credit <- struct{}{}
	}
	b.SetBytes(int64(len(train)))
	b.ReportAllocs()
	b.ResetTimer()
	ended := make(chan error)
	go func() { // ends after b.N trains or with an error
		in := batch()
		for total, want := 0, b.N*len(train); total < want; {
			if err := receive.ReceiveSpin(in, 20*time.Microsecond); err != nil {
				ended <- err
				return
			}
			before := total / len(train)
			total += len(in.Data)
			for range total/len(train) - before {
				credit <- struct{}{}
			}
		}
		ended <- nil
	}()
	for range b.N {
		<-credit
		if err := send.Send(train, segment, there); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkTurnaround is one small datagram there and back, with and without spinning.
func BenchmarkTurnaround(b *testing.B) {
	for _, spin := range []time.Duration{0, 50 * time.Microsecond} {
		b.Run(fmt.Sprintf("spin %v", spin), func(b *testing.B) {
			near, far := listen(b, "127.0.0.1:0", Options{}), listen(b, "127.0.0.1:0", Options{})
			if err := far.SetReadDeadline(time.Time{}); err != nil {
				b.Fatal(err)
			}
			go func() { // ends when far is closed
				for in := batch(); far.ReceiveSpin(in, spin) == nil; {
					if far.Send(in.Data, in.Segment, Path{Remote: in.From, Local: in.To}) != nil {
						return
					}
				}
			}()
			in, there := batch(), to(far, "127.0.0.1")
			b.ReportAllocs()
			for b.Loop() {
				if err := near.Send(in.Buf[:100], 100, there); err != nil {
					b.Fatal(err)
				}
				if err := near.ReceiveSpin(in, spin); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
