package simnet

import "time"

// overhead is what a datagram takes on a link beside its payload, in bytes: IPv4, UDP and Ethernet headers.
const overhead = 20 + 8 + 18

// DefaultQueue is the queue of a Link that has a rate and names no queue, in bytes.
const DefaultQueue = 256 << 10

// Link is what one direction of a path does to datagrams. The zero Link is instant and perfect.
type Link struct {
	Delay time.Duration // from leaving the queue to arriving
	Rate  int64         // bytes a second, headers included; 0 means no limit
	Queue int           // bytes that wait for a Rate before more are dropped; 0 means DefaultQueue

	Loss      float64 // probability of each datagram to vanish
	Duplicate float64 // probability to arrive twice
	Reorder   float64 // probability to arrive ReorderBy later than it would
	ReorderBy time.Duration

	Device int // largest payload in bytes that the sender's device takes; more is udp.ErrTooBig; 0 means no limit
	Path   int // largest payload that passes; more vanishes without a word; 0 means no limit
}

// Pipe is one direction of a link with its queue. Several routes may share a Pipe: that is a bottleneck.
type Pipe struct {
	net  *Network
	link Link      // guarded by net.mu
	free time.Time // guarded by net.mu: when what was accepted so far will have left
	down bool      // guarded by net.mu
	left PipeStats // guarded by net.mu
}

// PipeStats counts datagrams and bytes of payload, duplicates not included.
type PipeStats struct {
	Datagrams, Bytes uint64        // that passed
	Lost             uint64        // by chance, size, or because the pipe was down
	Overflow         uint64        // dropped because the queue was full
	MaxQueue         time.Duration // longest that one waited for the rate
}

// Set changes the link. What is on its way arrives as it would have.
func (p *Pipe) Set(l Link) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.link = l
}

// SetDown makes everything vanish that is sent from now on, or ends that.
func (p *Pipe) SetDown(down bool) {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	p.down = down
}

// Stats tells what happened on the pipe so far.
func (p *Pipe) Stats() PipeStats {
	p.net.mu.Lock()
	defer p.net.mu.Unlock()
	return p.left
}

// carryLocked decides about one datagram of size bytes: when it arrives, when a second copy does, or not at all.
func (p *Pipe) carryLocked(size int, now time.Time) (due [2]time.Time, copies int) {
	l, random := &p.link, p.net.random
	if p.down || l.Path > 0 && size > l.Path || random.Float64() < l.Loss {
		p.left.Lost++
		return due, 0
	}
	leaves := now
	if l.Rate > 0 {
		queue := l.Queue
		if queue <= 0 {
			queue = DefaultQueue
		}
		wait := max(0, p.free.Sub(now))
		if waiting := int64(wait.Seconds() * float64(l.Rate)); waiting+int64(size) > int64(queue) {
			p.left.Overflow++
			return due, 0
		}
		p.left.MaxQueue = max(p.left.MaxQueue, wait)
		leaves = now.Add(wait + time.Duration(float64(size+overhead)/float64(l.Rate)*float64(time.Second)))
		p.free = leaves
	}
	p.left.Datagrams++
	p.left.Bytes += uint64(size)
	due[0], copies = leaves.Add(l.Delay), 1
	if random.Float64() < l.Duplicate {
		due[1], copies = due[0], 2
	}
	if random.Float64() < l.Reorder {
		due[0] = due[0].Add(l.ReorderBy)
	}
	return due, copies
}
