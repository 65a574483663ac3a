package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/cmd/internal/logging"
)

const (
	// beatEvery is the longest silence in the stream of a stop.
	beatEvery = time.Second
	// lineGap is the shortest time between two lines about targets that moved.
	lineGap = 100 * time.Millisecond
	// maxDeadline bounds how long a stop may wait for its targets.
	maxDeadline = 24 * time.Hour
)

// stopLine is one line in answer to a stop. The names of stranded targets stand in the first and the last line
// only.
type stopLine struct {
	Progress farm.StopProgress `json:"progress"`
	// End marks the last line; without one the connection broke and nobody knows how the stop went.
	End bool `json:"end,omitempty"`
	// Error is why the stop did not end as it should, in the last line.
	Error *problem `json:"error,omitempty"`
}

func checkStop(r farm.StopRequest) error {
	if r.Deadline < 0 || r.Deadline > maxDeadline {
		return farm.Errorf(farm.ErrorInvalid, "a deadline of %v is out of bounds; between 0, for the farm's own, and %v is possible", r.Deadline, maxDeadline)
	}
	return checkName("server", r.Server)
}

// stop streams. A client that goes away cancels the wait and not the stop: the targets are still asked to move,
// and none is cut off.
func (h *handlers) stop(_ context.Context, in *body[farm.StopRequest]) (*huma.StreamResponse, error) {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		l := &lines{w: w, control: http.NewResponseController(w), gone: cancel}
		err := checkStop(in.Body)
		var end farm.StopProgress
		if err == nil {
			h.log.Info("asked to stop a stream service", zap.String(logging.KeyServer, in.Body.Server), zap.Bool("force", in.Body.Force),
				zap.String("by", asker(ctx)))
			beating := l.beat(ctx, h.beat)
			end, err = h.service.StopStream(ctx, in.Body, l.progress)
			cancel()
			<-beating
		}
		last := stopLine{Progress: end, End: true}
		if err != nil {
			last.Error = h.problem("stop-stream", err)
		}
		l.finish(last)
	}}, nil
}

// lines writes the stream of a stop.
type lines struct {
	w       http.ResponseWriter
	control *http.ResponseController
	gone    context.CancelFunc // called when the client cannot be written to

	mu     sync.Mutex // guards the fields below and the writing
	begun  bool
	ended  bool
	last   farm.StopProgress // what the farm told last
	sent   farm.StopProgress // what was written last
	sentAt time.Time
}

// beat repeats the last line whenever nothing was written for a while. It ends with ctx; the channel is closed
// then.
func (l *lines) beat(ctx context.Context, every time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() { // waited for by stop; ends with ctx
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			l.mu.Lock()
			if l.begun && !l.ended && time.Since(l.sentAt) >= every {
				l.last.Stranded = nil
				l.writeLocked(stopLine{Progress: l.last})
			}
			l.mu.Unlock()
		}
	}()
	return done
}

// progress takes the steps of the stop, of which there may be many a second. What is skipped is said by a later
// line or by a beat.
func (l *lines) progress(p farm.StopProgress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun {
		p.Stranded = nil
	}
	l.last = p
	same := p.Moved == l.sent.Moved && p.Left == l.sent.Left && p.Total == l.sent.Total
	if !l.begun || !same && time.Since(l.sentAt) >= lineGap {
		l.writeLocked(stopLine{Progress: p})
	}
}

// writeLocked writes one line and sends it off.
func (l *lines) writeLocked(line stopLine) {
	if l.ended {
		return
	}
	if !l.begun {
		l.w.Header().Set("Content-Type", lineType)
		l.w.WriteHeader(http.StatusOK)
		l.begun = true
	}
	l.sent, l.sentAt = line.Progress, time.Now()
	err := l.control.SetWriteDeadline(l.sentAt.Add(writeTimeout))
	if err == nil {
		err = json.NewEncoder(l.w).Encode(line)
	}
	if err == nil {
		err = l.control.Flush()
	}
	if err != nil {
		l.ended = true
		l.gone()
	}
}

// finish writes the last line, or, when none was written, a plain answer with its status.
func (l *lines) finish(last stopLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.begun && last.Error != nil {
		last.Error.Progress = &last.Progress
		writeProblem(l.w, last.Error)
		return
	}
	l.writeLocked(last)
}

func writeProblem(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", p.ContentType("application/json"))
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // who does not read it does not want to know
}
