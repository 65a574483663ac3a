package blockdev

import "time"

// Unanswered are the requests of the kernel that a process has read and not answered, in memory that outlives it. The kernel sends
// them again only when it looks for requests that take long; until then it takes an answer from whoever has the device, so that a
// successor need not let them wait.
//
// Only what changes nothing is noted, and of that what is not answered at once. The data of a write has died with the process, and a
// range must not be made zero by a request that the kernel has sent again meanwhile: something else may be there by then. A request is
// struck out before its answer is sent, so that none is answered twice. Its methods are those of a nil list too, which is empty.
type Unanswered struct {
	memory *memory
	now    func() time.Duration // of one clock for all processes, which stands still while the machine sleeps
}

const (
	// unansweredSize is the size of the list in bytes: a place for each command of a connection.
	unansweredSize = maxInFlight * placeSize
	// unansweredAlign is where a list may begin: at a page, as large as pages are anywhere.
	unansweredAlign = 64 << 10
	// answerWithin is how old a request may be when a successor answers it. At io_timeout (see queue) the kernel sends it again, and an
	// answer to what was sent before would break the connection.
	answerWithin = 3 * time.Second
	// catchUp is how long a reader may take, after it has waited, to read what came meanwhile: more than a hundred requests.
	catchUp = time.Second
)

// lag is the time, by the clock of the list, during which a reader waited and requests lay unread in its socket. Waits that follow one
// another soon are one.
type lag struct{ from, to time.Duration }

func (l *lag) wait(from, to time.Duration) {
	if l.to == 0 || from-l.to >= catchUp {
		l.from = from
	}
	l.to = to
}

// since is when a request that is read now was sent at the earliest.
func (l *lag) since(now time.Duration) time.Duration {
	if l.to != 0 && now-l.to < catchUp {
		return l.from
	}
	return now
}

// A place is four words: the kernel's name for the request, its offset, when it was sent, and what it is: length, flags, and its kind
// plus one, which is 0 in an empty place. The last one is stored last, and first when the place is emptied.
const placeSize = 4 * wordSize

// abandoned is a request that nobody has answered.
type abandoned struct {
	request
	since time.Duration
}

// unansweredAt is where the list of a disk of size bytes lies in the file of the map.
func unansweredAt(size int64) int64 {
	return (mapSize(blocksOf(size)) + unansweredAlign - 1) / unansweredAlign * unansweredAlign
}

// clock is the time by the clock of the list.
func (u *Unanswered) clock() time.Duration {
	if u == nil {
		return 0
	}
	return u.now()
}

// note notes a command that has to wait.
func (u *Unanswered) note(cmd *command, behind *lag) {
	if u == nil || cmd.kind != cmdRead && cmd.kind != cmdFlush {
		return
	}
	at := int64(cmd.place) * placeSize
	u.memory.setWord(at, cmd.cookie)
	u.memory.setWord(at+wordSize, cmd.off)
	u.memory.setWord(at+2*wordSize, uint64(behind.since(u.now())))
	u.memory.setWord(at+3*wordSize, uint64(cmd.length)<<32|uint64(cmd.flags)<<16|uint64(cmd.kind+1))
	cmd.noted = true
}

// strike strikes a command out, and tells whether it may be answered still.
func (u *Unanswered) strike(cmd *command) bool {
	if cmd.noted {
		u.memory.setWord(int64(cmd.place)*placeSize+3*wordSize, 0)
		cmd.noted = false
	}
	return cmd.answerBy == 0 || u.now() < cmd.answerBy
}

// take empties the list, and returns what is not too old to be answered.
func (u *Unanswered) take() (list []abandoned) {
	if u == nil {
		return nil
	}
	for at := int64(0); at < unansweredSize; at += placeSize {
		what := u.memory.getWord(at + 3*wordSize)
		if what == 0 {
			continue
		}
		u.memory.setWord(at+3*wordSize, 0)
		a := abandoned{since: time.Duration(u.memory.getWord(at + 2*wordSize))}
		a.cookie, a.off = u.memory.getWord(at), u.memory.getWord(at+wordSize)
		a.length, a.flags, a.kind = uint32(what>>32), uint16(what>>16), uint16(what)-1
		if age := u.now() - a.since; age >= 0 && age < answerWithin {
			list = append(list, a)
		}
	}
	return list
}

// answer works on requests that a predecessor has left, as if they had just come. It is called before run.
func (c *connection) answer(list []abandoned) {
	for _, a := range list {
		cmd, err := c.command()
		if err != nil {
			return
		}
		cmd.request, cmd.answerBy = a.request, a.since+answerWithin
		n := int64(cmd.length)
		if c.check(cmd) != nil || cmd.kind == cmdRead && !c.budget.take(n) {
			c.finish(cmd) // the kernel sends it again
			continue
		}
		if cmd.kind == cmdRead {
			cmd.cost, cmd.payload = n, newBuffer(int(n))
		}
		c.work.Add(1)
		go func() { // ends with the request; run waits for it
			defer c.work.Done()
			c.execute(cmd)
			c.out.add(cmd, true)
		}()
	}
}
