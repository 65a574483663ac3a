package farm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Mistake is one thing that is wrong in a farm file.
type Mistake struct {
	// File is the path under which the file was read.
	File string
	// Line and Column count from 1; both are 0 when the mistake is of the whole file.
	Line, Column int
	// Text says what is wrong and what would be right.
	Text string
}

// String is the mistake as an editor understands it: file:line:column: text.
func (m Mistake) String() string {
	if m.Line == 0 {
		return m.File + ": " + m.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Mistakes are all that is wrong in a farm file, in the order of the file.
type Mistakes []Mistake

// Error lists the mistakes, one a line.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}

// maxMistakes bounds what is listed of a file that is no farm file at all.
const maxMistakes = 100

// sorted returns the mistakes in the order of the file, each once, as an error; nil when there are none.
func (m Mistakes) sorted() error {
	if len(m) == 0 {
		return nil
	}
	slices.SortStableFunc(m, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Text, b.Text))
	})
	m = slices.Compact(m)
	if more := len(m) - maxMistakes; more > 0 {
		m = append(m[:maxMistakes:maxMistakes], Mistake{File: m[0].File, Text: fmt.Sprintf("and %d more", more)})
	}
	return m
}
