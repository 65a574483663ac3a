package remote

import "math/bits"

// key names an object, a chunk or an index page, in tables.
type key uint64

// levelShift leaves room for the number of any object: a disk has at most 2^48 chunks.
const levelShift = 56

func objectKey(level int, index int64) key { return key(level)<<levelShift | key(index) }

// table maps objects to values. Other than a map it makes no garbage when entries come and go. It has no lock.
type table[V any] struct {
	keys []key // one more than the key; 0 where there is none
	vals []V
	n    int
}

const minTable = 64

// hash spreads neighbouring keys (Fibonacci hashing).
func (t *table[V]) home(k key) int {
	return int(uint64(k) * 0x9E3779B97F4A7C15 >> (64 - bits.Len(uint(len(t.keys)-1))))
}

func (t *table[V]) find(k key) (at int, ok bool) {
	if len(t.keys) == 0 {
		return 0, false
	}
	mask := len(t.keys) - 1
	for at = t.home(k); ; at = (at + 1) & mask {
		switch t.keys[at] {
		case k + 1:
			return at, true
		case 0:
			return at, false
		}
	}
}

func (t *table[V]) get(k key) (v V, ok bool) {
	if at, ok := t.find(k); ok {
		return t.vals[at], true
	}
	return v, false
}

func (t *table[V]) put(k key, v V) {
	if 2*(t.n+1) > len(t.keys) {
		t.grow(max(minTable, 2*len(t.keys)))
	}
	at, ok := t.find(k)
	if !ok {
		t.keys[at] = k + 1
		t.n++
	}
	t.vals[at] = v
}

// reserve makes room for n entries, so that the table does not grow before.
func (t *table[V]) reserve(n int) {
	if want := 1 << bits.Len(uint(max(2*n, minTable)-1)); want > len(t.keys) {
		t.grow(want)
	}
}

func (t *table[V]) grow(size int) {
	keys, vals := t.keys, t.vals
	t.keys, t.vals, t.n = make([]key, size), make([]V, size), 0
	for i, k := range keys {
		if k != 0 {
			t.put(k-1, vals[i])
		}
	}
}

// del takes an entry out and moves those behind it up, so that no marks stay.
func (t *table[V]) del(k key) {
	at, ok := t.find(k)
	if !ok {
		return
	}
	t.n--
	mask := len(t.keys) - 1
	for next := (at + 1) & mask; t.keys[next] != 0; next = (next + 1) & mask {
		home := t.home(t.keys[next] - 1)
		// An entry may move to at if its home does not lie behind at, seen from the entry.
		if (next-home)&mask >= (next-at)&mask {
			t.keys[at], t.vals[at] = t.keys[next], t.vals[next]
			at = next
		}
	}
	var none V
	t.keys[at], t.vals[at] = 0, none
}
