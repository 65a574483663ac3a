package engine

import "slices"

// place decides on which path a fetch may be asked and puts it in line there.
func (c *Client) place(f *Fetch) {
	f.only = nil
	if f.done() {
		c.finish(f.started, f, nil)
		return
	}
	if len(f.avoid) == 0 || c.current != nil && !f.avoids(c.current.server) {
		c.enqueue(f)
		return
	}
	for _, p := range c.paths {
		if p.aux && p.state == pathOpen && !f.avoids(p.server) {
			f.only = p
			c.enqueue(f)
			return
		}
	}
	f.deferred = true
	c.deferred = append(c.deferred, f)
}

// enqueue puts a fetch in line when it has something to be asked for: in front
// when it was asked for before.
func (c *Client) enqueue(f *Fetch) {
	if f.deferred || !f.wants() {
		return
	}
	again := f.due()
	if f.queue != nil {
		if !again || f.queue.front() == f {
			return
		}
		f.queue.remove(f)
	}
	q := &c.ahead
	switch {
	case f.only != nil:
		q = &f.only.repair
	case f.Demand:
		q = &c.demand
	}
	if again {
		q.pushFront(f)
	} else {
		q.push(f)
	}
}

// unqueue takes a fetch out of line.
func (c *Client) unqueue(f *Fetch) {
	if f.deferred {
		f.deferred = false
		if i := slices.Index(c.deferred, f); i >= 0 {
			c.deferred = slices.Delete(c.deferred, i, i+1)
		}
	}
	if f.queue != nil {
		f.queue.remove(f)
	}
}

// list puts a fetch with gaps on p among those that are looked at with each
// datagram. One that stands in another path's list waits for the timers here.
func (c *Client) list(f *Fetch, p *path) {
	if f.listed == nil && f.gaps(p) {
		f.listed = p
		p.gaps = append(p.gaps, f)
	}
}

func (c *Client) unlist(f *Fetch) {
	if p := f.listed; p != nil {
		f.listed = nil
		if i := slices.Index(p.gaps, f); i >= 0 {
			p.gaps = slices.Delete(p.gaps, i, i+1)
		}
	}
}

// reroute takes everything off a path that will not answer any more and puts
// it in line for the next one, the oldest in front.
func (c *Client) reroute(p *path) {
	for i := range uint32(fetchSlots) {
		f := c.fetches[(c.nextID-1-i)%fetchSlots]
		if f == nil {
			continue
		}
		any := f.again(p)
		switch {
		case f.only == p:
			c.unqueue(f)
			c.place(f)
		case any:
			c.unqueue(f)
			c.enqueue(f)
		}
	}
	for _, f := range p.gaps {
		f.listed = nil
	}
	p.gaps = nil
}

// replaceDeferred looks again for a path for the fetches that wait for one.
func (c *Client) replaceDeferred() {
	for _, f := range slices.Clone(c.deferred) {
		c.unqueue(f)
		c.place(f)
	}
}
