package blockdev

import (
	"context"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// gate is a device whose reads of the first block wait until they are let go.
func gate(size int64) (m *Memory, entered chan struct{}, letGo chan struct{}) {
	m, entered, letGo = NewMemory(size), make(chan struct{}, 10_000), make(chan struct{})
	m.Before = func(ctx context.Context, _ string, off, _ int64) error {
		if off >= 4096 {
			return nil
		}
		entered <- struct{}{}
		select {
		case <-letGo:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return m, entered, letGo
}

// Many requests wait at the same time, and those that need not wait overtake them.
func TestRequestsThatWaitDelayNoOther(t *testing.T) {
	const waiting = maxInFlight - 1
	m, entered, letGo := gate(1 << 20)
	path, _, _ := serve(t, m, Options{})
	c := attach(t, path, true)
	for i := range waiting {
		c.ask(0, cmdRead, uint64(100+i), 0, 512)
	}
	for range waiting {
		<-entered
	}
	c.ask(0, cmdRead, 1, 4096, 512)
	if r := c.answer(0); r.cookie != 1 {
		t.Fatalf("want the answer that need not wait, got %+v", r)
	}
	close(letGo)
	seen := map[uint64]bool{}
	for range waiting {
		r := c.answer(0)
		if r.errno != 0 || seen[r.cookie] {
			t.Fatalf("%+v", r)
		}
		seen[r.cookie] = true
	}
}

// half is a device that answers at once but for its first block.
type half struct{ *Memory }

func (h half) TryReadAt(p []byte, off int64) bool {
	return off >= 4096 && h.Memory.ReadAt(context.Background(), p, off) == nil
}

// A reply that was held back to be written together with the next ones does not wait for one that waits.
func TestRepliesAreNotHeldBackByARequestThatWaits(t *testing.T) {
	m, entered, letGo := gate(1 << 20)
	path, _, _ := serve(t, half{m}, Options{})
	c := attach(t, path, true)
	c.write(join(requestBytes(0, cmdRead, 1, 8192, 512), requestBytes(0, cmdRead, 2, 4096, 512), requestBytes(0, cmdRead, 3, 0, 512)))
	for want := range uint64(2) {
		if r := c.answer(0); r.cookie != want+1 {
			t.Fatalf("want the answer to %d, got %+v", want+1, r)
		}
	}
	<-entered
	close(letGo)
	if r := c.answer(0); r.cookie != 3 || r.errno != 0 {
		t.Errorf("%+v", r)
	}
}

// A client cannot make the server hold more than its budget, and everything is answered in the end.
func TestPayloadInFlightIsBounded(t *testing.T) {
	const size, bound, requests = 256 << 10, 1 << 20, 40
	m := NewMemory(size)
	var mu sync.Mutex
	now, most := 0, 0
	m.Before = func(context.Context, string, int64, int64) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		for range 100 { // a disk that takes its time
			runtime.Gosched()
		}
		mu.Lock()
		now--
		mu.Unlock()
		return nil
	}
	path, _, _ := serve(t, m, Options{Memory: bound})
	c := attach(t, path, true)
	for i := range requests {
		c.ask(0, cmdRead, uint64(i), 0, size)
	}
	for range requests {
		c.answer(size)
	}
	mu.Lock()
	defer mu.Unlock()
	if most > bound/size {
		t.Errorf("%d requests of %d bytes at once, the bound is %d bytes", most, size, bound)
	}
}

// Closing lets work in progress finish and takes no new.
func TestClosingFinishesWhatIsInProgress(t *testing.T) {
	m, entered, letGo := gate(1 << 20)
	path, _, stop := serve(t, m, Options{Grace: time.Hour})
	c := attach(t, path, true)
	c.ask(0, cmdRead, 1, 0, 512)
	<-entered
	ended := make(chan error)
	go func() { ended <- stop() }()
	for { // the listener goes first
		if l, err := Listen(path); err == nil {
			l.Close()
			break
		}
	}
	close(letGo)
	if r := c.answer(0); r.errno != 0 || r.cookie != 1 {
		t.Errorf("%+v", r)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("the connection is still open")
	}
}

// What does not finish within the grace is given up, and the client is told.
func TestClosingDoesNotWaitForEver(t *testing.T) {
	m, entered, _ := gate(1 << 20)
	path, _, stop := serve(t, m, Options{Grace: time.Millisecond})
	c := attach(t, path, true)
	idle := dial(t, path) // one that never chose an export
	c.ask(0, cmdRead, 1, 0, 512)
	<-entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	if r := c.answer(0); r.errno != nbdESHUTDOWN {
		t.Errorf("%+v", r)
	}
	if _, err := idle.in.ReadByte(); err == nil {
		t.Error("the other connection is still open")
	}
}

// Requests of a client that is gone are abandoned.
func TestAClientThatLeavesFreesWhatItHeld(t *testing.T) {
	m, entered, _ := gate(1 << 20)
	path, s, _ := serve(t, m, Options{})
	c := attach(t, path, true)
	for range 20 {
		c.ask(0, cmdRead, 1, 0, 512)
	}
	for range 20 {
		<-entered
	}
	c.sock.Close()
	for start := time.Now(); s.Stats().Connections > 0; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("the connection is still served")
		}
	}
}

// More clients than the bound are turned away, and there is room again when one leaves.
func TestConnectionsAreBounded(t *testing.T) {
	path, s, _ := serve(t, NewMemory(4096), Options{})
	var clients []*client
	for range MaxConnections {
		clients = append(clients, attach(t, path, true))
	}
	sock, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sock.Read(make([]byte, 1)); err == nil {
		t.Error("one more client than the bound is served")
	}
	sock.Close()
	clients[0].sock.Close()
	for start := time.Now(); s.Stats().Connections == MaxConnections; time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatal("no room came free")
		}
	}
	attach(t, path, true).readAt(0, 1)
}
