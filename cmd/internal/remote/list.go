package remote

// links are the neighbours of an element of a list. An element stands in one list at a time.
type links[T any] struct{ prev, next T }

// linked is a pointer to what can stand in a list.
type linked[T any] interface {
	comparable
	links() *links[T]
}

// list is a doubly linked list through its elements, so that it makes no garbage. The zero value is empty.
type list[T linked[T]] struct {
	first, last T
	n           int
}

func (l *list[T]) pushFront(e T) {
	var none T
	*e.links() = links[T]{none, l.first}
	if l.first != none {
		l.first.links().prev = e
	} else {
		l.last = e
	}
	l.first = e
	l.n++
}

func (l *list[T]) pushBack(e T) {
	var none T
	*e.links() = links[T]{l.last, none}
	if l.last != none {
		l.last.links().next = e
	} else {
		l.first = e
	}
	l.last = e
	l.n++
}

func (l *list[T]) remove(e T) {
	var none T
	at := e.links()
	if at.prev != none {
		at.prev.links().next = at.next
	} else {
		l.first = at.next
	}
	if at.next != none {
		at.next.links().prev = at.prev
	} else {
		l.last = at.prev
	}
	*at = links[T]{}
	l.n--
}

// popFront takes the first element out; none when the list is empty.
func (l *list[T]) popFront() T {
	e := l.first
	if l.n > 0 {
		l.remove(e)
	}
	return e
}

func (l *list[T]) toFront(e T) {
	if l.first != e {
		l.remove(e)
		l.pushFront(e)
	}
}

// waiter is one request that waits for something.
type waiter struct {
	place links[*waiter]
	in    *waitList // guarded by the disk's lock; nil when it waits for nothing
	ready chan struct{}
}

func (w *waiter) links() *links[*waiter] { return &w.place }

// waitList is who waits for one thing, guarded by the disk's lock.
type waitList struct{ list list[*waiter] }

func (l *waitList) empty() bool { return l.list.n == 0 }

func (l *waitList) add(w *waiter) {
	w.in = l
	l.list.pushBack(w)
}

// wakeOne wakes who waits longest.
func (l *waitList) wakeOne() {
	if l.list.n > 0 {
		w := l.list.popFront()
		w.in = nil
		w.ready <- struct{}{} // has room for the one wake-up that a waiter gets
	}
}

func (l *waitList) wakeAll() {
	for l.list.n > 0 {
		l.wakeOne()
	}
}
