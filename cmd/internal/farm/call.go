package farm

import (
	"encoding/json"
	"errors"
	"time"
)

// A call is one request from server to server, answered by any number of messages of which the last says so.
// Peers seal it but do not protect it from being sent again by whoever recorded it: therefore a call names the
// start numbers of both ends, and each number of a caller counts once.
type call struct {
	From   string          `json:"from"`
	Start  uint64          `json:"start"` // of the caller
	To     uint64          `json:"to"`    // start of the callee
	Number uint64          `json:"number"`
	Method string          `json:"method"`
	Body   json.RawMessage `json:"body,omitempty"`
	Within time.Duration   `json:"within"` // how long the caller waits
}

// answer is one message in answer to a call.
type answer struct {
	From   string          `json:"from"`
	Number uint64          `json:"number"`
	Start  uint64          `json:"start"` // of the caller, so that its next life ignores the answer
	Seq    int             `json:"seq"`   // from 0; answers travel on connections of their own
	Body   json.RawMessage `json:"body,omitempty"`
	Last   bool            `json:"last"`
	// Code and Text are those of the error with which the call ended; only in the last answer.
	Code ErrorCode `json:"code,omitempty"`
	Text string    `json:"text,omitempty"`
}

// cancel says that the caller no longer waits.
type cancel struct {
	From   string `json:"from"`
	Start  uint64 `json:"start"`
	Number uint64 `json:"number"`
}

const (
	maxCalls      = 64 // at a time, in each direction
	maxAnswers    = 1 << 20
	maxEarly      = 64 // answers that came before an earlier one
	maxMethodName = 32
	maxCallTime   = 24 * time.Hour
)

func (c call) check() error {
	if len(c.Method) == 0 || len(c.Method) > maxMethodName || c.Within <= 0 || c.Within > maxCallTime {
		return errors.New("a call out of bounds")
	}
	return checkName(c.From)
}

func (a answer) check() error {
	if len(a.Text) > maxTextBytes || a.Seq < 0 || a.Seq > maxAnswers {
		return errors.New("an answer out of bounds")
	}
	return checkName(a.From)
}

// once remembers which calls of a caller were seen. Calls travel on connections of their own, so a few may
// overtake one another.
type once struct {
	start   uint64
	highest uint64
	seen    [callWindow / 64]uint64 // one bit for each of the last numbers
}

// callWindow is how far a call may be overtaken.
const callWindow = 256

// first tells whether the number comes for the first time from this life of the caller.
func (o *once) first(start, number uint64) bool {
	if start != o.start {
		*o = once{start: start}
	}
	switch {
	case number == 0 || number+callWindow <= o.highest:
		return false
	case number > o.highest:
		for n := o.highest + 1; n <= number && n <= o.highest+callWindow; n++ {
			o.seen[n/64%uint64(len(o.seen))] &^= 1 << (n % 64)
		}
		if number > o.highest+callWindow {
			o.seen = [callWindow / 64]uint64{}
		}
		o.highest = number
	}
	word, bit := number/64%uint64(len(o.seen)), uint64(1)<<(number%64)
	if o.seen[word]&bit != 0 {
		return false
	}
	o.seen[word] |= bit
	return true
}
