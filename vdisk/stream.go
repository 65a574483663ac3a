package vdisk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// endGrace is how long after the end of a stream an interrupt may still come. Ctrl-C goes to both ends of a pipe at
// once: the stream then ends because its producer was told to, which may be seen here before the own signal is.
const endGrace = 250 * time.Millisecond

// stream stores a raw disk from a pipe.
func (im *importer) stream(ctx context.Context, number uint32) (*Result, error) {
	if im.Input == nil {
		return nil, errors.New("there is no stream to read")
	}
	input, hangUp := interruptible(ctx, im.Input)
	defer hangUp()
	in := bufio.NewReaderSize(input, probeHead)
	head, err := in.Peek(probeHead)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	format, err := detect(head, nil, int64(len(head)))
	if err == nil && format != FormatRaw {
		err = fmt.Errorf("is a %v image; only raw images can be read from a stream, import it from a file", format)
	}
	if err != nil {
		return nil, err
	}
	im.size, im.data = im.Size, im.Size
	w, err := im.begin(number)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	var source io.Reader = in
	if im.Size > 0 {
		source = io.LimitReader(in, im.Size+1) // one byte more tells that there is more
	}
	if err := im.copy(ctx, w, source, -1); err != nil {
		return nil, im.explain(w, err)
	}
	switch size := w.Size(); {
	case size == 0:
		return nil, errors.New("the stream ended before its first byte; did the command before the pipe fail?")
	case im.Size > 0 && size > im.Size:
		return nil, fmt.Errorf("%w: the stream goes on after the %d bytes that the disk should have", ErrOtherSize, im.Size)
	case im.Size > 0 && size < im.Size:
		return nil, fmt.Errorf("%w: the stream ended after %d of %d bytes; did the command before the pipe fail?", ErrOtherSize, size, im.Size)
	}
	grace := time.NewTimer(endGrace)
	defer grace.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-grace.C:
	}
	return im.commit(ctx, w, FormatRaw)
}

// interruptible gives a reader of in that ctx ends, whether or not in has anything to say. The goroutine behind it ends
// with ctx or with hangUp, or, if in is silent then, with the next thing that in says; nobody waits for it.
func interruptible(ctx context.Context, in io.Reader) (r io.Reader, hangUp func()) {
	pr, pw := io.Pipe()
	stop := context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{pw}, struct{ io.Reader }{in}, make([]byte, streamBuffer))
		pw.CloseWithError(err) // without one: the end of the stream
	}()
	return pr, func() {
		stop()
		pr.Close()
	}
}

// streamBuffer is how much of a stream is read at once, in bytes.
const streamBuffer = 256 << 10
