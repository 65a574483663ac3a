package farm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/spate-project/spate/cmd/internal/logging"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
)

// The methods that servers call of each other.
const (
	methodTargets  = "targets"
	methodFirmware = "firmware"
	methodBoot     = "boot"
	methodStop     = "stop"
	methodStart    = "start"
)

// handle answers the calls of other servers.
func (f *Farm) handle(ctx context.Context, method string, body json.RawMessage, reply func(any) error) (any, error) {
	switch method {
	case methodTargets:
		return f.localTargets(), nil
	case methodFirmware:
		var asked []kernelAge
		if err := json.Unmarshal(body, &asked); err != nil {
			return nil, Errorf(ErrorInvalid, "the request cannot be read: %v", err)
		}
		return f.firmwareOf(asked), nil
	case methodBoot:
		var mac MAC
		if err := json.Unmarshal(body, &mac); err != nil {
			return nil, Errorf(ErrorInvalid, "the request cannot be read: %v", err)
		}
		return f.bootView(mac), nil
	case methodStop:
		var r StopRequest
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, Errorf(ErrorInvalid, "the request cannot be read: %v", err)
		}
		return f.stopHere(ctx, r, func(p StopProgress) {
			if err := reply(p); err != nil {
				f.log.Debug("progress not sent", zap.Error(err))
			}
		})
	case methodStart:
		return nil, f.startHere()
	}
	return nil, Errorf(ErrorInvalid, "server %s does not know %q; its program may be older", f.o.Name, method)
}

// find checks that a server exists and can be asked to do something.
func (f *Farm) find(server string) error {
	v := f.view()
	var all []string
	for _, s := range v.servers() {
		all = append(all, s.Name)
		if s.Name != server {
			continue
		}
		if p, _ := v.peer(server); server != f.o.Name && !p.alive {
			return Errorf(ErrorUnavailable, "server %s is not alive, as far as %s can see", server, f.o.Name)
		}
		return nil
	}
	return Errorf(ErrorNotFound, "no server is called %q; the farm has %s", server, strings.Join(all, ", "))
}

// StopStream stops the stream service of any server.
func (f *Farm) StopStream(ctx context.Context, r StopRequest, progress func(StopProgress)) (StopProgress, error) {
	if progress == nil {
		progress = func(StopProgress) {}
	}
	if err := f.find(r.Server); err != nil {
		return StopProgress{}, err
	}
	if r.Server == f.o.Name {
		return f.stopHere(ctx, r, progress)
	}
	var last StopProgress
	err := f.peers.Call(ctx, r.Server, methodStop, r, func(b json.RawMessage) error {
		if err := json.Unmarshal(b, &last); err != nil {
			return fmt.Errorf("progress of server %s: %w", r.Server, err)
		}
		if !last.Done {
			progress(last)
		}
		return nil
	})
	return last, err
}

// StartStream starts the stream service of any server.
func (f *Farm) StartStream(ctx context.Context, server string) error {
	if err := f.find(server); err != nil {
		return err
	}
	if server == f.o.Name {
		return f.startHere()
	}
	ctx, stop := context.WithTimeout(ctx, askWithin)
	defer stop()
	return f.peers.Call(ctx, server, methodStart, nil, func(json.RawMessage) error { return nil })
}

func (f *Farm) startHere() error {
	s := f.streams.Load()
	if s == nil {
		return Errorf(ErrorUnavailable, "server %s is still starting", f.o.Name)
	}
	f.mu.Lock()
	under := f.stop
	f.mu.Unlock()
	if under != nil {
		under.takeBack()
	}
	(*s).StartStream()
	f.log.Info("stream service started")
	f.peers.report()
	return nil
}

// stop is a stop of the stream service that is under way.
type stop struct {
	end       context.CancelFunc
	ended     chan struct{} // closed when targets are not moved away any more
	takenBack atomic.Bool
}

// takeBack ends the stop and waits until it has ended; targets that have not moved stay.
func (s *stop) takeBack() {
	s.takenBack.Store(true)
	s.end()
	<-s.ended
}

// stopHere moves the targets of this server away and stops its stream service.
func (f *Farm) stopHere(ctx context.Context, r StopRequest, progress func(StopProgress)) (StopProgress, error) {
	s := f.streams.Load()
	if s == nil {
		return StopProgress{}, Errorf(ErrorUnavailable, "server %s is still starting", f.o.Name)
	}
	deadline := r.Deadline
	if deadline <= 0 {
		deadline = f.Config().Drain
	}
	p := StopProgress{Server: f.o.Name}
	p.Total, p.Stranded = f.stranded()
	p.Left = p.Total
	if len(p.Stranded) > 0 && !r.Force {
		return p, Errorf(ErrorConflict, "%d of %d targets of %s would have nowhere to go (%s); nothing was stopped; --force stops it anyway",
			len(p.Stranded), p.Total, f.o.Name, few(p.Stranded))
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	under := &stop{end: end, ended: make(chan struct{})}
	f.mu.Lock()
	busy := f.stop != nil
	if !busy {
		f.stop = under
	}
	f.mu.Unlock()
	if busy {
		return p, Errorf(ErrorConflict, "the stream service of %s is being stopped already", f.o.Name)
	}
	progress(p)
	f.peers.report() // at once: the others must not send anybody here
	last := p
	d := (*s).StopStream(ctx, wire.AwayStopped, deadline, func(d stream.Drained) {
		if now := p.with(d); now.Moved != last.Moved || now.Left != last.Left {
			last = now
			progress(now)
		}
	})
	f.mu.Lock()
	f.stop = nil
	f.mu.Unlock()
	close(under.ended)
	f.peers.report()
	p = p.with(d)
	p.Done = true
	if under.takenBack.Load() {
		f.log.Info("stop of the stream service taken back", zap.Int("moved", p.Moved), zap.Int("stay", p.Left))
		return p, Errorf(ErrorUnfinished, "the stop was taken back by a start of the stream service: %d of %d targets have moved, %d stay", p.Moved, p.Total, p.Left)
	}
	f.log.Info("stream service stopped", zap.Int("moved", p.Moved), zap.Int("silent", d.Silent), zap.Int("left", p.Left), zap.Duration("longest_pause", p.LongestPause),
		zap.String(logging.KeyServer, f.o.Name))
	if p.Left > 0 && ctx.Err() != nil {
		return p, Errorf(ErrorUnfinished, "not waited for any longer: %d of %d targets are still here and go on being asked to move", p.Left, p.Total)
	}
	if p.Left > 0 {
		return p, Errorf(ErrorUnfinished, "%d of %d targets were still here after %s and were cut off", p.Left, p.Total, deadline.Round(time.Second))
	}
	return p, nil
}

func (p StopProgress) with(d stream.Drained) StopProgress {
	p.Total, p.Moved, p.Silent, p.Left, p.LongestPause = d.Total, d.Moved, d.Silent, d.Left, d.LongestPause
	return p
}

// stranded counts this server's targets and names those for which no other server is eligible.
func (f *Farm) stranded() (total int, names []string) {
	v := f.view()
	v.peers = slices.DeleteFunc(v.peers, func(p peer) bool { return p.name == f.o.Name })
	for _, t := range f.localTargets() {
		total++
		a := ask{mac: t.MAC, addr: t.Addr.Addr(), resume: true, content: &t.Content}
		if o := v.decide(a); o.result != wire.ResultAccept {
			names = append(names, t.Device)
		}
	}
	return total, names
}

// few lists at most a few names.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
