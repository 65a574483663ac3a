package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/spate-project/spate/cmd/internal/farm"
)

// errSilent ends a stream in which no line came for too long.
var errSilent = errors.New("no line for too long")

// StopStream asks the farm and follows the stream of lines. Progress is told on the caller's goroutine. When ctx
// ends, the stop goes on without anybody watching, and no target is cut off.
func (c *client) StopStream(ctx context.Context, r farm.StopRequest, progress func(farm.StopProgress)) (farm.StopProgress, error) {
	if progress == nil {
		progress = func(farm.StopProgress) {}
	}
	watched, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	resp, err := c.send(watched, http.MethodPost, pathStopStream, r)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return refused.progress, refused.err
	}
	if err != nil {
		return farm.StopProgress{Server: r.Server}, err
	}
	defer resp.Body.Close()
	alarm := time.AfterFunc(c.silence, func() { stop(errSilent) })
	defer alarm.Stop()
	last, first := farm.StopProgress{Server: r.Server}, true
	lines := json.NewDecoder(bufio.NewReader(io.LimitReader(resp.Body, maxAnswerBytes)))
	for {
		var line stopLine
		if err := lines.Decode(&line); err != nil {
			return last, c.broken(ctx, r.Server, err, context.Cause(watched))
		}
		alarm.Reset(c.silence)
		if len(line.Progress.Stranded) == 0 {
			line.Progress.Stranded = last.Stranded
		}
		switch {
		case line.End && line.Error != nil:
			return line.Progress, line.Error.farmError(line.Error.Status)
		case line.End:
			return line.Progress, nil
		case line.Progress.Moved != last.Moved || line.Progress.Left != last.Left || first:
			progress(line.Progress)
		}
		last, first = line.Progress, false
	}
}

// broken says what an end without a last line means.
func (c *client) broken(ctx context.Context, server string, err, why error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(why, errSilent):
		return farm.Errorf(farm.ErrorUnavailable, "%s has said nothing for %v; how the stop of %s goes is not known; look with: spate server list", c.place, c.silence, server)
	}
	return farm.Errorf(farm.ErrorUnavailable, "the connection to %s broke (%v) before it said how the stop of %s went; look with: spate server list", c.place, cause(err), server)
}
