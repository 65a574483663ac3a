package bootreplay

import "slices"

// span is the bytes from from up to to.
type span struct{ from, to int64 }

// spans is a set of bytes: in order, and neither touches the next.
type spans []span

// find is the index of the first span that ends at or behind at.
func (s spans) find(at int64) int {
	i, _ := slices.BinarySearchFunc(s, at, func(x span, at int64) int {
		if x.to < at {
			return -1
		}
		return 1
	})
	return i
}

// add adds length bytes at off.
func (s *spans) add(off, length int64) {
	if length == 0 {
		return
	}
	x := span{off, off + length}
	i := s.find(x.from)
	j := i
	for ; j < len(*s) && (*s)[j].from <= x.to; j++ {
		x = span{min(x.from, (*s)[j].from), max(x.to, (*s)[j].to)}
	}
	*s = slices.Replace(*s, i, j, x)
}

// holds tells whether all of length bytes at off are in the set.
func (s spans) holds(off, length int64) bool {
	i := s.find(off + length)
	return length == 0 || i < len(s) && s[i].from <= off
}

// bytes is how many are in the set.
func (s spans) bytes() (n int64) {
	for _, x := range s {
		n += x.to - x.from
	}
	return n
}
