package farm

import (
	"errors"
	"fmt"
)

// ErrorCode says what kind of error Service returned, for the admin API and for exit codes.
type ErrorCode string

// The codes.
const (
	ErrorInternal    ErrorCode = "internal"    // our own mistake; the log says more
	ErrorInvalid     ErrorCode = "invalid"     // what was asked makes no sense
	ErrorNotFound    ErrorCode = "not_found"   // no such server, device, vDisk
	ErrorConflict    ErrorCode = "conflict"    // not in this state, or not without force
	ErrorUnavailable ErrorCode = "unavailable" // a server cannot be reached now
	ErrorUnfinished  ErrorCode = "unfinished"  // the deadline came before the end
)

// Error is an error toward people: a code and one sentence.
type Error struct {
	Code ErrorCode
	Text string
}

func (e *Error) Error() string { return e.Text }

// Errorf makes an Error.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of an error, ErrorInternal when it has none.
func CodeOf(err error) ErrorCode {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ErrorInternal
}
