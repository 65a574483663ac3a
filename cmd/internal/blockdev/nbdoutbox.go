package blockdev

import (
	"context"
	"net"
	"sync"
)

// maxHeld is how many replies are held back while more requests lie ready to be answered at once.
const maxHeld = 16

// outbox writes replies, several with one system call when they come together. Whoever finds nobody writing writes, also
// what others add meanwhile; they need not wait for it.
type outbox struct {
	conn *connection

	mu      sync.Mutex // guards queue, writing, failed
	queue   []*command
	writing bool
	failed  bool

	// Belong to whoever set writing.
	batch  []*command
	pieces [][]byte
	vector net.Buffers
}

// add queues the reply of cmd, which belongs to the outbox from here on. With flush false it may lie there until flush.
func (o *outbox) add(cmd *command, flush bool) {
	o.mu.Lock()
	o.queue = append(o.queue, cmd)
	if o.writing || !flush && len(o.queue) < maxHeld {
		o.mu.Unlock()
		return
	}
	o.writeLocked()
}

// flush writes what was held back, unless somebody is writing, who will.
func (o *outbox) flush() {
	o.mu.Lock()
	if o.writing || len(o.queue) == 0 {
		o.mu.Unlock()
		return
	}
	o.writeLocked()
}

// writeLocked writes until the queue is empty. It is called with mu held and returns without it.
func (o *outbox) writeLocked() {
	o.writing = true
	for len(o.queue) > 0 {
		o.batch, o.queue = o.queue, o.batch[:0]
		failed := o.failed
		o.mu.Unlock()
		if !failed && o.write() != nil {
			failed = true
			// Nobody hears us: requests need not be finished, and the reader must notice.
			o.conn.cancel()
			_ = o.conn.sock.Close()
		}
		for i, cmd := range o.batch {
			o.batch[i] = nil
			o.conn.finish(cmd)
		}
		o.mu.Lock()
		o.failed = failed
	}
	o.writing = false
	o.mu.Unlock()
}

// write sends the batch, without answers that have come too late.
func (o *outbox) write() error {
	if o.conn.unanswered != nil && o.conn.ctx.Err() != nil {
		return context.Cause(o.conn.ctx) // to the kernel, whose requests remain for a successor
	}
	o.pieces = o.pieces[:0]
	for _, cmd := range o.batch {
		if !o.conn.unanswered.strike(cmd) {
			continue
		}
		o.pieces = append(o.pieces, cmd.head)
		if len(cmd.send) > 0 {
			o.pieces = append(o.pieces, cmd.send)
		}
	}
	switch len(o.pieces) {
	case 0:
		return nil
	case 1:
		_, err := o.conn.sock.Write(o.pieces[0])
		return err
	}
	o.vector = o.pieces
	_, err := o.vector.WriteTo(o.conn.sock)
	return err
}
