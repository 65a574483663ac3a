package blockdev

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// waiting is a disk whose requests wait until their process dies, while dying is true; a read at 8192 takes longer than may be.
type waiting struct {
	*Memory
	dying atomic.Bool
	clock atomic.Int64
	begun sync.WaitGroup
}

func newWaiting() *waiting {
	w := &waiting{Memory: NewMemoryOf(pattern(1<<20), false)}
	w.Before = func(ctx context.Context, op string, off, _ int64) error {
		switch {
		case w.dying.Load():
			w.begun.Done()
			<-ctx.Done()
		case op == "read" && off == 8192:
			w.clock.Add(int64(answerWithin))
		}
		return ctx.Err()
	}
	return w
}

func (w *waiting) unanswered() *Unanswered {
	return &Unanswered{memory: &memory{bytes: make([]byte, unansweredSize)}, now: func() time.Duration { return time.Duration(w.clock.Load()) }}
}

// die attaches a disk, sends requests, and ends when all of them wait.
func (w *waiting) die(t *testing.T, k *fakeKernel, u *Unanswered, requests ...[]byte) {
	t.Helper()
	n, err := attachKernel(k, w, KernelOptions{Unanswered: u})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, n)
	w.dying.Store(true)
	for _, r := range requests {
		w.begun.Add(1)
		if _, err := k.sock.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	w.begun.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	w.dying.Store(false)
}

// What a process has read and not answered its successor answers, without the kernel's sending it again: once, and not when it may do
// so at any moment. Of a write nobody has the data, and a range must not be made zero later than the kernel asks for it.
func TestASuccessorAnswersWhatWasLeft(t *testing.T) {
	const fresh = 9
	for _, c := range []struct {
		name string
		age  time.Duration
		off  int64 // of the read
		want []uint64
	}{
		{"at once", 0, 4096, []uint64{1, 4}},
		{"too late", answerWithin, 4096, nil},
		{"too slowly", 0, 8192, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, k := newWaiting(), &fakeKernel{}
			u := w.unanswered()
			requests := [][]byte{requestBytes(0, cmdRead, 1, c.off, 512)}
			if c.want != nil || c.age > 0 {
				requests = append(requests, join(requestBytes(0, cmdWrite, 2, 65536, 512), make([]byte, 512)),
					requestBytes(0, cmdTrim, 3, 32768, 4096), requestBytes(0, cmdFlush, 4, 0, 0))
			}
			w.die(t, k, u, requests...)
			w.clock.Add(int64(c.age))
			n, err := resumeKernel(k, w, KernelOptions{Unanswered: u})
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, n)
			got, last := map[uint64]bool{}, -1
			for range c.want {
				head := k.ask(t, 16)
				cookie := be.Uint64(head[8:])
				if got[cookie] || be.Uint32(head[4:]) != 0 {
					t.Errorf("answered with %x", head)
				}
				if got[cookie] = true; cookie == 1 {
					if b := k.ask(t, 512); !bytes.Equal(b, pattern(1 << 20)[c.off:][:512]) {
						t.Error("what is read is wrong")
					}
				}
				last = int(cookie)
			}
			for _, cookie := range c.want {
				if !got[cookie] {
					t.Errorf("request %d has no answer; the last is of %d", cookie, last)
				}
			}
			// Nothing but what was asked of the successor itself comes any more.
			if b := k.ask(t, 16, requestBytes(0, cmdFlush, fresh, 0, 0)); be.Uint64(b[8:]) != fresh {
				t.Errorf("answered with %x", b)
			}
			if left := u.take(); len(left) != 0 {
				t.Errorf("%+v remain", left)
			}
			if err := n.Disconnect(); err != nil {
				t.Fatal(err)
			}
			if err := stop(); err != nil && !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		})
	}
}

// A device that is attached anew has nothing to do with what was left of another one.
func TestWhatWasLeftOfAnotherDeviceIsNotAnswered(t *testing.T) {
	w, k := newWaiting(), &fakeKernel{}
	u := w.unanswered()
	w.die(t, k, u, requestBytes(0, cmdFlush, 1, 0, 0))
	n, err := attachKernel(k, w, KernelOptions{Unanswered: u})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, n)
	if b := k.ask(t, 16, requestBytes(0, cmdFlush, 2, 0, 0)); be.Uint64(b[8:]) != 2 {
		t.Errorf("answered with %x", b)
	}
	if err := n.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil && !errors.Is(err, ErrDisconnected) {
		t.Error(err)
	}
}

// What lay in the socket while the process waited for room is older than it seems, and is left to the kernel.
func TestWhatWasReadLateIsNotAnswered(t *testing.T) {
	w, k := newWaiting(), &fakeKernel{}
	u, full, room := w.unanswered(), make(chan struct{}), make(chan struct{})
	asked := 0
	u.now = func() time.Duration {
		if asked++; asked == 2 { // the first read is noted, and there is no room for the second one
			close(full)
			defer w.clock.Add(int64(answerWithin - 1))
		}
		return time.Duration(w.clock.Load())
	}
	w.clock.Store(1)
	dies := w.Before
	w.Before = func(ctx context.Context, op string, off, n int64) error {
		if off == 4096 {
			<-room
			return nil
		}
		return dies(ctx, op, off, n)
	}
	n, err := attachKernel(k, w, KernelOptions{Unanswered: u, Options: Options{Memory: 4096}})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, n)
	w.dying.Store(true)
	w.begun.Add(1)
	if _, err := k.sock.Write(join(requestBytes(0, cmdRead, 1, 4096, 4096), requestBytes(0, cmdRead, 2, 0, 4096))); err != nil {
		t.Fatal(err)
	}
	<-full
	close(room)
	w.begun.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	w.clock.Add(1)
	if left := u.take(); len(left) != 0 {
		t.Errorf("%+v would be answered", left)
	}
}
