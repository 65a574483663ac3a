package blockdev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
)

// fakeKernel is the kernel's end of a device.
type fakeKernel struct {
	sock  net.Conn
	shape deviceShape
	err   error
}

func (k *fakeKernel) take(sock *os.File) error {
	if k.err != nil {
		return k.err
	}
	c, err := net.FileConn(sock)
	k.sock = c
	return err
}

func (k *fakeKernel) connect(index uint32, sock *os.File, d deviceShape) (uint32, error) {
	k.shape = d
	if index == AnyIndex {
		index = 7
	}
	return index, k.take(sock)
}
func (k *fakeKernel) reconnect(_ uint32, sock *os.File) error { return k.take(sock) }
func (k *fakeKernel) disconnect(uint32) error                 { return k.sock.Close() }
func (k *fakeKernel) tune(uint32) error                       { return nil }

// ask sends requests and reads as many bytes of replies.
func (k *fakeKernel) ask(t testing.TB, reply int, requests ...[]byte) []byte {
	t.Helper()
	if _, err := k.sock.Write(join(requests...)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, reply)
	if _, err := io.ReadFull(k.sock, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func run(t testing.TB, n *KernelDevice) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Serve(ctx) }() // ended by stop, or by the kernel; waited for there
	return func() error {
		cancel()
		return <-ended
	}
}

// A device whose process ends without a word goes on where it was with the next one; what is in flight at the end gets no
// answer at all, least of all an error.
func TestASuccessorTakesADeviceOver(t *testing.T) {
	disk, k := NewMemory(1<<20), &fakeKernel{}
	hold, held := make(chan struct{}), make(chan struct{})
	disk.Before = func(ctx context.Context, op string, off, _ int64) error {
		if op != "read" || off != 0 {
			return nil
		}
		close(held)
		<-ctx.Done()
		<-hold
		return ctx.Err()
	}
	n, err := attachKernel(k, disk, KernelOptions{Index: AnyIndex})
	if err != nil {
		t.Fatal(err)
	}
	if n.Index != 7 || k.shape != (deviceShape{size: 1 << 20}) {
		t.Errorf("device %d, %+v", n.Index, k.shape)
	}
	stop := run(t, n)
	data := pattern(4096)
	want := join(appendSimple(nil, 1, 0), appendSimple(nil, 2, 0), data)
	if got := k.ask(t, len(want), requestBytes(0, cmdWrite, 1, 8192, 4096), data, requestBytes(0, cmdRead, 2, 8192, 4096)); !bytes.Equal(got, want) {
		t.Error("what was written is not what is read")
	}
	if _, err := k.sock.Write(requestBytes(0, cmdRead, 3, 0, 4096)); err != nil {
		t.Fatal(err)
	}
	<-held
	close(hold)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(k.sock); len(b) != 0 {
		t.Errorf("a request that was abandoned was answered with %x (%v)", b, err)
	}
	if n, err = resumeKernel(k, disk, KernelOptions{Index: 7}); err != nil {
		t.Fatal(err)
	}
	stop = run(t, n)
	want = join(appendSimple(nil, 3, 0), data)
	if got := k.ask(t, len(want), requestBytes(0, cmdRead, 3, 8192, 4096)); !bytes.Equal(got, want) {
		t.Error("the successor does not answer what the kernel sends again")
	}
	if err := n.Disconnect(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil && !errors.Is(err, ErrDisconnected) {
		t.Error(err)
	}
}

func TestADiskThatTheKernelCannotShowIsRefused(t *testing.T) {
	if _, err := attachKernel(&fakeKernel{}, NewMemory(1000), KernelOptions{}); !errors.Is(err, errOddSize) {
		t.Errorf("1000 bytes: %v", err)
	}
	k := &fakeKernel{err: errors.New("no")}
	if _, err := attachKernel(k, NewMemory(4096), KernelOptions{}); !errors.Is(err, k.err) {
		t.Errorf("the kernel refuses: %v", err)
	}
	for s, want := range map[string]uint32{"auto": AnyIndex, "nbd3": 3, "/dev/nbd12": 12} {
		if n, err := KernelIndex(s); err != nil || n != want {
			t.Errorf("%s: %d, %v", s, n, err)
		}
	}
	for _, s := range []string{"", "/dev/sda", "nbd", "nbd-1", "/dev/nbd0p1"} {
		if _, err := KernelIndex(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
