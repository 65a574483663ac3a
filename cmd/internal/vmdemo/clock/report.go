package clock

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

// Report is a line of the clock.
type Report struct {
	Time    string        // hours, minutes, seconds
	New     int64         // blocks read since the line before
	Slowest time.Duration // of these, in whole milliseconds on the line
	Reads   int64         // blocks read and compared
	Wrong   int64         // blocks and lines of the diary with wrong bytes
	Failed  int64         // reads and writes that failed
	Written int64         // lines of the diary
	Kept    int64         // lines that were read back as they were written
}

// String is the line. A terminal of 80 columns holds it.
func (r Report) String() string {
	return fmt.Sprintf("%s  %d blocks read, slowest %d ms; of %d: %d wrong, %d failed; diary %d/%d",
		r.Time, r.New, r.Slowest.Milliseconds(), r.Reads, r.Wrong, r.Failed, r.Kept, r.Written)
}

var line = regexp.MustCompile(`([0-9:]{8})  (\d+) blocks read, slowest (\d+) ms; of (\d+): (\d+) wrong, (\d+) failed; diary (\d+)/(\d+)`)

// longest is the longest read that a report can tell of, in milliseconds.
const longest = int64(math.MaxInt64 / time.Millisecond)

// Parse finds a report in a line of a console, behind whatever else is there.
func Parse(text string) (r Report, ok bool) {
	found := line.FindStringSubmatch(text)
	if found == nil {
		return r, false
	}
	var n [7]int64
	for i, s := range found[2:] {
		var err error
		if n[i], err = strconv.ParseInt(s, 10, 64); err != nil {
			return r, false // more digits than a number has
		}
	}
	if n[1] > longest {
		return r, false // no time.Duration is that long
	}
	return Report{found[1], n[0], time.Duration(n[1]) * time.Millisecond, n[2], n[3], n[4], n[6], n[5]}, true
}
