package lab

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
)

// maxJournal bounds what is kept of a process's output; beyond it the oldest lines go.
const maxJournal = 4 << 20

// Journal keeps what a process writes.
type Journal struct {
	file *os.File // gets everything, too; may be nil

	mu    sync.Mutex
	text  []byte        // guarded by mu
	grown chan struct{} // guarded by mu; closed and replaced when text grows
}

func newJournal(file *os.File) *Journal { return &Journal{file: file, grown: make(chan struct{})} }

// Write takes output.
func (j *Journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, p...)
	if over := len(j.text) - maxJournal; over > 0 {
		j.text = bytes.Clone(j.text[over:])
	}
	close(j.grown)
	j.grown = make(chan struct{})
	if j.file != nil {
		return j.file.Write(p)
	}
	return len(p), nil
}

// String is all that is kept.
func (j *Journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text)
}

// line finds the first whole line that holds what.
func (j *Journal) line(what string) (line string, grown <-chan struct{}, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for l := range bytes.Lines(j.text) {
		if l[len(l)-1] == '\n' && bytes.Contains(l, []byte(what)) {
			return strings.TrimSuffix(string(l), "\n"), nil, true
		}
	}
	return "", j.grown, false
}

// Await waits for a line that holds what and returns it, or the error of ctx.
func (j *Journal) Await(ctx context.Context, what string) (string, error) {
	for {
		line, grown, ok := j.line(what)
		if ok {
			return line, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}
