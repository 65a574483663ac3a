package engine

// Schedule shares one socket's sending between sessions by deficit round robin
// (Shreedhar and Varghese, SIGCOMM 1995): each visit grants a session quantum
// bytes more, so that sessions get equal shares whatever the sizes of their
// datagrams are. It has no lock; the zero value is ready.
type Schedule struct {
	queue []*Session
	head  int
}

// quantum is one full train.
const quantum = maxTrain

// Add puts a session with output in line, unless it stands there already.
func (q *Schedule) Add(s *Session) {
	if s.scheduled {
		return
	}
	s.scheduled = true
	if q.head > 0 && len(q.queue) == cap(q.queue) {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	q.queue = append(q.queue, s)
}

// Len is how many sessions stand in line.
func (q *Schedule) Len() int { return len(q.queue) - q.head }

// Next gives the session whose turn it is and how many bytes it may send, and
// takes it out of line. The caller fills a train and says with Sent how it went.
func (q *Schedule) Next() (s *Session, limit int) {
	if q.Len() == 0 {
		return nil, 0
	}
	s = q.queue[q.head]
	q.queue[q.head] = nil
	if q.head++; q.head == len(q.queue) {
		q.queue, q.head = q.queue[:0], 0
	}
	s.scheduled = false
	s.deficit = min(s.deficit+quantum, 2*quantum)
	return s, s.deficit
}

// Sent charges a session for n bytes and puts it back in line when it has more.
func (q *Schedule) Sent(s *Session, n int) {
	s.deficit -= n
	if s.HasOutput() {
		q.Add(s)
	} else {
		s.deficit = 0
	}
}
