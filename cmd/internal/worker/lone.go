package worker

import (
	"errors"
	"sync"
)

// lone decides what becomes of a worker whose keeper has died. One on which a machine runs goes on: it has the memory, the keys
// and the device. One on which nothing runs yet ends, because PID 1 starts another keeper then, with a worker of its own. Once PID 1
// is the system's init, the worker starts another keeper itself; in between only its own death would have nobody to mend it.
type lone struct {
	mu      sync.Mutex // guards what follows
	serving bool       // from before the device is attached
	alone   bool       // the keeper has died
}

var errAlone = errors.New("the keeper has gone, and nothing runs from this disk yet")

// mayServe is asked before the device is taken; used says that it is attached already.
func (l *lone) mayServe(used bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serving = !l.alone || used
	return l.serving
}

// left notes that the keeper has died, and tells whether the worker goes on; used says that its device is attached.
func (l *lone) left(used bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alone = true
	return l.serving || used
}

// found notes that there is a keeper again.
func (l *lone) found() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alone = false
}

// is tells whether the keeper has died.
func (l *lone) is() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.alone
}
