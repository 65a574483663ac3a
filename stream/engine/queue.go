package engine

// fetchQueue is a queue of fetches that have something to be asked for.
type fetchQueue struct {
	list []*Fetch
	head int
}

func (q *fetchQueue) empty() bool { return q.head == len(q.list) }

func (q *fetchQueue) front() *Fetch { return q.list[q.head] }

func (q *fetchQueue) push(f *Fetch) {
	if q.head > 0 && len(q.list) == cap(q.list) {
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
	q.list = append(q.list, f)
}

func (q *fetchQueue) pop() {
	q.list[q.head] = nil
	q.head++
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
}

// remove takes f out wherever it stands; that f is not there is no error.
func (q *fetchQueue) remove(f *Fetch) {
	for i := q.head; i < len(q.list); i++ {
		if q.list[i] == f {
			copy(q.list[i:], q.list[i+1:])
			q.list[len(q.list)-1] = nil
			q.list = q.list[:len(q.list)-1]
			break
		}
	}
	if q.head == len(q.list) {
		q.list, q.head = q.list[:0], 0
	}
}
