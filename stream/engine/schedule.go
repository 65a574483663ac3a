package engine

// Schedule shares one socket's sending between sessions by deficit round robin
// (Shreedhar and Varghese, SIGCOMM 1995): each visit grants a session quantum
// bytes more, so that sessions get equal shares whatever the sizes of their
// datagrams are. What a session has to say beside data (pending, pong, going
// away) goes before the data of all others, at the session's own expense: with
// a thousand sessions a round takes longer than a target bears silence. It has
// no lock; the zero value is ready. Add and Sent look into the session, Next
// does not.
type Schedule struct {
	data   sessionQueue
	urgent sessionQueue
}

// schedulePlace is what a Schedule keeps in a session.
type schedulePlace struct {
	data, urgent bool // stands in that queue
	deficit      int  // bytes that it may send more
}

// What a visit grants: a full train to a session that is alone, less when others
// wait, whose reads would otherwise wait for many full trains on a slow link.
const (
	quantum      = maxTrain
	quantumParts = 4
)

// sessionQueue is a ring that grows.
type sessionQueue struct {
	ring []*Session
	head int
	n    int
}

func (q *sessionQueue) push(s *Session) {
	if q.n == len(q.ring) {
		ring := make([]*Session, max(16, 2*len(q.ring)))
		for i := range q.n {
			ring[i] = q.ring[(q.head+i)&(len(q.ring)-1)]
		}
		q.ring, q.head = ring, 0
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = s
	q.n++
}

func (q *sessionQueue) pop() *Session {
	s := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return s
}

// Add puts a session with output in line, unless it stands there already.
func (q *Schedule) Add(s *Session) {
	p := &s.place
	if !p.urgent && s.urgent() && p.deficit > -quantum {
		p.urgent = true
		q.urgent.push(s)
	}
	if !p.data {
		p.data = true
		q.data.push(s)
	}
}

// Len is how many turns are due.
func (q *Schedule) Len() int { return q.data.n + q.urgent.n }

// Next gives the session whose turn it is and how many bytes it may send, and
// takes it out of line. The caller fills a train, even when the session has no
// output any more, and says with Sent how it went.
func (q *Schedule) Next() (s *Session, limit int) {
	if q.urgent.n > 0 {
		s = q.urgent.pop()
		s.place.urgent = false
		return s, basePacket
	}
	for q.data.n > 0 {
		grant := quantum / min(q.data.n, quantumParts)
		s = q.data.pop()
		p := &s.place
		p.deficit = min(p.deficit+grant, 2*quantum)
		if p.deficit < basePacket {
			q.data.push(s) // it has sent more than its share lately
			continue
		}
		p.data = false
		return s, p.deficit
	}
	return nil, 0
}

// Sent charges a session for n bytes and puts it back in line when it has more.
func (q *Schedule) Sent(s *Session, n int) {
	s.place.deficit -= n
	switch {
	case s.HasOutput():
		q.Add(s)
	case s.place.deficit > 0:
		s.place.deficit = 0
	}
}
