package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/keeper"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/nic"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/udp"
	"github.com/spate-project/spate/stream/wire"

	crand "crypto/rand"
)

// state is what a worker keeps for its successor.
type state struct {
	// Lease is the card's; nil before there is one.
	Lease *nic.Lease `json:"lease,omitempty"`
	// Key is the private key of the device, so that a successor is the same target.
	Key [keyfile.Size]byte `json:"key"`
	// Servers are the log-in servers by address: a successor must not need a name server.
	Servers []netip.AddrPort `json:"servers,omitempty"`
	// Disk is what the first log-in named; nil before.
	Disk *wire.Disk `json:"disk,omitempty"`
	// Attached says that the write cache has been made and that Index may be a device with our disk.
	Attached bool   `json:"attached,omitempty"`
	Index    uint32 `json:"index"`
}

// worker is one process. What has no other guard belongs to the goroutine of Run.
type worker struct {
	post      *keeper.Post
	state     state
	inherited bool // from a predecessor that may have attached the device; not written after Run has begun
	lone      lone
	// unanswered are the requests of the kernel that wait; nil where there is no list of them.
	unanswered *blockdev.Unanswered

	mu       sync.Mutex        // guards what follows
	boot     wire.BootTimes    // what servers are told
	attached *agent.Attachment // who tells them; nil before the log-in
}

// Run is the worker's process. It returns only with an error; the keeper starts another one then.
func Run(ctx context.Context) error {
	post, err := keeper.Join()
	if err != nil {
		return err
	}
	w := &worker{post: post}
	if len(post.State) > 0 {
		if err := json.Unmarshal(post.State, &w.state); err != nil {
			return fmt.Errorf("what the last worker kept: %w", err)
		}
	}
	w.inherited = w.state.Attached
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = w.run(ctx, cancel)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

func (w *worker) run(ctx context.Context, fail context.CancelCauseFunc) error {
	go w.listen(ctx, fail) // ends with ctx or the keeper; nobody waits for it
	link, err := w.network(ctx)
	if err != nil {
		return err
	}
	// Behind the network: keys wait for the kernel's random numbers, and addresses do not.
	if err := w.key(); err != nil {
		return err
	}
	// Ends with ctx, which ends with the process; a card that is not looked after any more is a reason for another one.
	go func() { fail(fmt.Errorf("network: %w", link.Run(ctx))) }()
	a, err := w.logIn(ctx, link)
	if err != nil {
		return err
	}
	defer a.Close()
	watch, leave := context.WithCancel(ctx)
	defer leave() // before Close, which is no loss
	// Ends with watch; nobody waits for it.
	go func() {
		if err := a.Lost(watch); err != nil {
			fail(err)
		}
	}()
	w.tellServers(a)
	go w.status(ctx, a) // ends with ctx; nobody waits for it
	go a.Track(ctx)     // the same
	d, err := w.disk(a)
	if err != nil {
		return w.fail(ctx, a, err)
	}
	w.listUnanswered(d.Size())
	return w.serve(ctx, a, d)
}

// key finds the key of the device, or makes one.
func (w *worker) key() error {
	switch c := &w.post.Config; {
	case w.state.Key != [keyfile.Size]byte{}:
		return nil
	case len(c.DeviceKey) > 0:
		k, err := keyfile.Parse(c.Line.DeviceKey, c.DeviceKey)
		if err != nil {
			return fmt.Errorf("key of this device (spate.device-key=): %w", err)
		}
		w.state.Key = k
	default:
		k, err := secure.GenerateKey(crand.Reader)
		if err != nil {
			return err
		}
		w.state.Key = k
	}
	return w.post.Keep(&w.state)
}

// network brings the card up, or goes on with it.
func (w *worker) network(ctx context.Context) (*nic.Link, error) {
	say := func(s string) { w.post.Say(keeper.Line, s) }
	want := nic.Want{Card: w.post.Config.Line.Card, ResolvConf: "/etc/resolv.conf", StateFile: nic.StateFile}
	if lease := w.state.Lease; lease != nil {
		if now, err := nic.LoadState(); err == nil && now.MAC == lease.MAC && now.Since >= lease.Since {
			lease = &now // it has been renewed since
		}
		return nic.Adopt(*lease, want, say), nil
	}
	if line, err := os.ReadFile("/proc/cmdline"); err == nil {
		want.Static, _ = nic.ParseStatic(string(line)) // PID 1 has told of mistakes
		want.Lease = nic.ParseLease(string(line))
	}
	link, err := nic.Up(ctx, want, say)
	if err != nil {
		return nil, err
	}
	lease := link.Lease()
	w.state.Lease = &lease
	w.take(w.post.Reach(keeper.NetworkUp))
	return link, w.post.Keep(&w.state)
}

const (
	firstRetry = 2 * time.Second
	lastRetry  = 30 * time.Second
)

// logIn returns when a server serves. Nothing but the end of ctx ends it before.
func (w *worker) logIn(ctx context.Context, link *nic.Link) (*agent.Attachment, error) {
	for delay := firstRetry; ; delay = min(2*delay, lastRetry) {
		a, err := w.tryLogIn(ctx, link)
		if err == nil {
			return a, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var denied *stream.DeniedError
		if errors.As(err, &denied) {
			err = errors.New("every server refuses") // each with its reason, in a line above
		}
		w.post.Say(keeper.Problem, fmt.Sprintf("log-in: %v; trying again in %d s", err, int(delay.Seconds())))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

func (w *worker) tryLogIn(ctx context.Context, link *nic.Link) (*agent.Attachment, error) {
	l := &w.post.Config.Line
	servers := l.Servers
	if len(w.state.Servers) > 0 {
		servers = nil
		for _, s := range w.state.Servers {
			servers = append(servers, s.String())
		}
	}
	login := agent.Login{Servers: servers, FarmKey: l.FarmKey, VDisk: l.VDisk, MAC: link.Lease().MAC, Key: w.state.Key, Program: w.post.Config.Program}
	if d := w.state.Disk; d != nil { // the version that is attached, whatever is the newest now
		login.VDisk = fmt.Sprintf("%s@%d", d.Name, d.Number)
	}
	a, err := agent.Attach(ctx, agent.Options{
		Login: login, Where: deviceOf(w.state.Index), Remote: caches(memTotal()), NoClock: true,
		Line: func(s string) { w.post.Say(keeper.Line, s) },
		Wrap: func(c udp.Conn) udp.Conn {
			return udp.Bypass(c, udp.BypassOptions{Hop: link.Hop, Note: func(s string) { w.post.Say(keeper.Line, s) }})
		},
	})
	if err != nil || w.state.Disk != nil {
		return a, err
	}
	if err := booted(l.Content, a.Disk.Disk()); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// disk puts the write cache over what the servers serve: the first time a new one, later what is there.
func (w *worker) disk(a *agent.Attachment) (*blockdev.WriteCache, error) {
	w.take(w.post.Reach(keeper.LoggedIn))
	told := a.Disk.Disk()
	kept := blockdev.Kept{Data: w.post.Data, Map: w.post.Map, Below: below(told)}
	notice := func(n blockdev.Notice) { w.post.Say(noticeKind(n), noticeText(n)) }
	if w.state.Attached {
		if d := w.state.Disk; d.Content != told.Content || d.Size != told.Size {
			return nil, fmt.Errorf("%s@%d: %w (root %x… instead of %x…)", told.Name, told.Number, errOtherContent, told.Content.Root[:4], d.Content.Root[:4])
		}
		return blockdev.RecoverWriteCache(a.Device(), kept, notice)
	}
	// A device that is there without our having kept so is a dead keeper's, with a write cache that is lost: what its users
	// hold must not be mixed with what comes.
	if blockdev.KernelAttached(w.state.Index) {
		if err := blockdev.ReleaseKernel(w.state.Index); err != nil {
			return nil, err
		}
	}
	l := &w.post.Config.Line
	c, err := blockdev.NewKeptWriteCache(a.Device(), cacheSize(l.CacheBytes, l.CachePercent, memTotal()), kept, notice)
	if err != nil {
		return nil, err
	}
	w.state.Disk, w.state.Servers, w.state.Attached = &told, a.Servers(), true
	return c, w.post.Keep(&w.state)
}

// listUnanswered opens the list of requests by which a successor answers at once what we leave to it. Without it they wait for some
// seconds.
func (w *worker) listUnanswered(size int64) {
	u, err := blockdev.KeptUnanswered(blockdev.Kept{Data: w.post.Data, Map: w.post.Map}, size)
	if err != nil {
		w.post.Say(keeper.Problem, "worker: "+err.Error())
		return
	}
	w.unanswered = u
}

// serve shows the disk as a device until something ends that.
func (w *worker) serve(ctx context.Context, a *agent.Attachment, c *blockdev.WriteCache) error {
	a.SetWriteCache(c)
	if blockdev.KernelAttached(w.state.Index) {
		w.post.Say(keeper.Line, "worker: going on with "+deviceOf(w.state.Index))
	}
	for {
		// With a keeper that has died, PID 1 may have started another one: a device that nobody uses is that one's.
		if !w.lone.mayServe(w.inUse()) {
			return errAlone
		}
		err := w.show(ctx, a, c)
		if ctx.Err() != nil || !errors.Is(err, blockdev.ErrDisconnected) || w.lone.is() {
			return err
		}
		w.post.Say(keeper.Problem, fmt.Sprintf("%s: %v; taking it up again", deviceOf(w.state.Index), err))
		select {
		case <-time.After(takeUpDelay):
		case <-ctx.Done():
		}
	}
}

// inUse tells whether the machine runs from a device that a predecessor has attached.
func (w *worker) inUse() bool { return w.inherited && blockdev.KernelAttached(w.state.Index) }

// takeUpDelay is the least time between two connections with the kernel, which may not have noticed yet that one has died.
const takeUpDelay = 100 * time.Millisecond

// show serves one connection with the kernel.
func (w *worker) show(ctx context.Context, a *agent.Attachment, d blockdev.Device) error {
	o := blockdev.KernelOptions{Index: w.state.Index, Unanswered: w.unanswered, Options: blockdev.Options{Memory: inFlight}}
	if a != nil { // a disk that fails for good was spoken of
		o.Note = func(s string) { w.post.Say(keeper.Problem, s) }
	}
	take := blockdev.AttachKernel
	if blockdev.KernelAttached(o.Index) {
		take = blockdev.ResumeKernel
	}
	n, err := take(d, o)
	if err != nil {
		return err
	}
	go func() { // ends by itself; nobody waits for it
		if err := n.Tune(); err != nil {
			w.post.Say(keeper.Problem, "queue of "+n.Path()+": "+err.Error())
		}
		if a != nil { // the last worker may have died before it could say so
			w.take(w.post.Reach(keeper.Attached))
			t := w.state.Disk
			w.post.Ready(keeper.Disk{Device: n.Path(), Size: t.Size, VDisk: t.Name, Version: t.Number, Server: a.Server()})
		}
	}()
	return n.Serve(ctx)
}

// inFlight is how many bytes of requests are worked on at once.
const inFlight = 32 << 20

// fail fails the disk for good: whoever reads or writes hears of it, and nobody gets what is wrong.
func (w *worker) fail(ctx context.Context, a *agent.Attachment, why error) error {
	if !w.state.Attached || !lasting(why) || !blockdev.KernelAttached(w.state.Index) {
		return why // nothing depends on it yet, or it may pass: another worker tries again
	}
	w.post.Say(keeper.Problem, fmt.Sprintf("%s FAILS: %v. What was written cannot be told any more; this machine must be reset", deviceOf(w.state.Index), why))
	return w.show(ctx, nil, broken{size: w.state.Disk.Size, why: why})
}

// listen hears which stages the machine has reached, and that the keeper has gone: it must not take the disk with it, for which
// all that is needed is here.
func (w *worker) listen(ctx context.Context, fail context.CancelCauseFunc) {
	for delay := time.Duration(0); ; {
		e, err := w.post.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !w.lone.left(w.inUse()):
			fail(errAlone)
			return
		case err != nil && !w.systemRuns():
			w.post.Log(keeper.Problem, "the keeper of the disk has died. The disk goes on, as long as its worker lives, which nobody would replace: restart this machine when you can")
			return
		case err != nil:
			w.post.Log(keeper.Problem, "the keeper of the disk has died. The disk goes on; starting another keeper")
			if delay = w.newKeeper(ctx, delay); ctx.Err() != nil {
				return
			}
			continue
		}
		w.take(e)
	}
}

// systemRuns tells whether PID 1 has become the system's init, and starts no keepers any more.
func (w *worker) systemRuns() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.boot.InitMS != 0
}

// newKeeper starts a keeper after so long, and when that fails later and later. It returns how long the next one should wait.
func (w *worker) newKeeper(ctx context.Context, delay time.Duration) time.Duration {
	for {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return delay
		}
		delay = min(max(2*delay, firstRetry), lastRetry)
		err := w.post.NewKeeper()
		if err == nil {
			w.lone.found()
			w.post.Say(keeper.Line, "worker: there is a keeper again")
			return delay
		}
		w.post.Log(keeper.Problem, fmt.Sprintf("no other keeper of the disk can be started: %v; trying again in %d s", err, int(delay.Seconds())))
	}
}

// take notes a stage, and tells the servers.
func (w *worker) take(e keeper.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if note(&w.boot, e) && w.attached != nil {
		w.attached.SetBoot(w.boot)
	}
}

// tellServers has the servers told of all stages so far and from here on.
func (w *worker) tellServers(a *agent.Attachment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached = a
	a.SetBoot(w.boot)
}

// statusDelay leaves the processor of a machine that boots to the mount of its root.
const statusDelay = 2 * time.Second

// status answers spate-target status.
func (w *worker) status(ctx context.Context, a *agent.Attachment) {
	if !w.inherited {
		select {
		case <-time.After(statusDelay):
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		if err := a.ServeStatus(ctx); err != nil {
			w.post.Say(keeper.Line, "status: "+err.Error())
		}
		select {
		case <-time.After(lastRetry):
		case <-ctx.Done():
		}
	}
}
