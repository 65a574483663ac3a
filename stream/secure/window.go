package secure

const wordBits = 64

// window remembers which of the latest counters were seen. The bits of 64 counters share a word, and words stand in a ring with one
// more than the window needs, so that moving on clears whole words and never a bit that still counts (the idea of RFC 6479).
type window struct {
	words []uint64
	size  uint64 // counters that are remembered behind the newest
	next  uint64 // the newest counter seen, plus one
}

// newWindow makes a window over so many counters, rounded up to whole words.
func newWindow(counters int) window {
	words := max(1, (counters+wordBits-1)/wordBits)
	return window{words: make([]uint64, words+1), size: uint64(words * wordBits)}
}

// fresh tells whether counter is new: ahead of all seen, or inside the window and not seen.
func (w *window) fresh(counter uint64) bool {
	if counter >= w.next {
		return true
	}
	if w.next-counter > w.size {
		return false
	}
	word := counter / wordBits % uint64(len(w.words))
	return w.words[word]&(1<<(counter%wordBits)) == 0
}

// mark remembers a counter that fresh has let through.
func (w *window) mark(counter uint64) {
	n := uint64(len(w.words))
	word := counter / wordBits
	if counter >= w.next {
		// The word of the newest counter seen stays; those ahead of it are empty before they are used.
		first := uint64(0)
		if w.next > 0 {
			first = (w.next-1)/wordBits + 1
		}
		if word >= first+n {
			first = word - n + 1
		}
		for i := first; i <= word; i++ {
			w.words[i%n] = 0
		}
		w.next = counter + 1
	}
	w.words[word%n] |= 1 << (counter % wordBits)
}
