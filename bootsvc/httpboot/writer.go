package httpboot

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// writer counts what a client takes, and gives it stallTime for each part.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	sent    int64
	err     error
}

// WriteHeader notes the status.
func (w *writer) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write passes a part on.
func (w *writer) Write(b []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(stallTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.err = err
		return 0, err
	}
	n, err := w.ResponseWriter.Write(b)
	w.sent += int64(n)
	w.err = err
	return n, err
}

// ended says why an answer ended early, nil when it did not.
func (w *writer) ended() error {
	if w.err != nil {
		return w.err
	}
	if length, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil && w.sent < length {
		return fmt.Errorf("only %d of %d bytes could be read", w.sent, length)
	}
	return nil
}

// reader remembers why a file could not be read: package http tells nobody.
type reader struct {
	io.ReadSeeker
	err error
}

// Read reads on.
func (r *reader) Read(b []byte) (int, error) {
	n, err := r.ReadSeeker.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}
