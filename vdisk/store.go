package vdisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// scanEvery is how often a store is looked through even when no event came: network file systems report
	// no changes that other machines make.
	scanEvery = time.Second
	// settle is how long the events of one change are gathered before the store is looked through.
	settle = 50 * time.Millisecond
	// noticeEvery is the time between two looks for the sake of what readers and checks have found; the first is at
	// once.
	noticeEvery = 250 * time.Millisecond
	// stuckAfter is how long a folder may take to answer before it is reported.
	stuckAfter = 5 * time.Second
)

// ErrNotHere means that a store has no usable replica of what was asked for.
var ErrNotHere = errors.New("not in this store")

// StoreOptions are those of a Store; the zero value is good.
type StoreOptions struct {
	// Changed is called after the inventory has changed, from the goroutine that runs Scan. It may call
	// every method but Scan.
	Changed func(Inventory)
}

// Store is a folder with vDisk files that is kept under watch. All methods are safe for concurrent use.
type Store struct {
	name, dir string
	changed   func(Inventory)
	noticed   chan struct{}                  // has an entry when a version has something to tell
	every     time.Duration                  // scanEvery
	open      func(string) (*Version, error) // Open

	scanning sync.Mutex // held while a scan runs; taken before mu
	mu       sync.Mutex
	// guarded by mu:
	items   map[string]*item
	listed  Inventory // as of the last scan
	problem string
	began   time.Time // of the scan that runs now; zero when none does
	closed  bool
}

// NewStore makes the store of that name in the folder dir, which need not exist yet. It is empty until Scan or
// Run. Close ends it.
func NewStore(name, dir string, o StoreOptions) *Store {
	return &Store{
		name: name, dir: dir, changed: o.Changed, items: map[string]*item{}, listed: Inventory{Store: name, Dir: dir},
		problem: "was not looked at yet", noticed: make(chan struct{}, 1), every: scanEvery, open: Open,
	}
}

// Name gives the name of the store.
func (s *Store) Name() string { return s.name }

// Dir gives its folder.
func (s *Store) Dir() string { return s.dir }

// Run keeps the inventory up to date until ctx ends, by events of the file system, by looking through the folder every
// second, and at once when a version was found damaged or cannot be read. A folder that goes away or fails is
// reported in the inventory and picked up again when it is back. Run gives the error of ctx.
func (s *Store) Run(ctx context.Context) error {
	// Without a watcher (no more inotify instances) the scan every second has to do.
	watcher, err := fsnotify.NewWatcher()
	var events <-chan fsnotify.Event
	var faults <-chan error
	if err == nil {
		defer watcher.Close()
		events, faults = watcher.Events, watcher.Errors
	}
	watch := func() {
		switch {
		case watcher == nil:
		case s.Inventory().Problem != "":
			// The name may lead to another folder when it is back.
			_ = watcher.Remove(s.dir)
			fallthrough
		case len(watcher.WatchList()) == 0:
			_ = watcher.Add(s.dir) // tried again at the next scan
		}
	}
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	var due <-chan time.Time
	var looked time.Time // when a notice was followed last
	watch()
	s.Scan()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events:
			if due == nil && !isTemp(filepath.Base(e.Name)) {
				due = time.After(settle)
			}
			continue
		case err := <-faults:
			// Events were lost; the scan finds what they were about.
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				_ = watcher.Remove(s.dir)
			}
		case <-s.noticed:
			if rest := noticeEvery - time.Since(looked); rest > 0 {
				if due == nil {
					due = time.After(rest)
				}
				continue
			}
			looked = time.Now()
		case <-due:
			looked = time.Now()
		case <-tick.C:
		}
		due = nil
		watch()
		s.Scan()
	}
}

// Scan looks through the folder once.
func (s *Store) Scan() {
	s.scanning.Lock()
	defer s.scanning.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.began = time.Now()
	before, back := s.items, s.problem != ""
	s.mu.Unlock()
	next, err := s.rescan(before, back)
	s.replace(before, next, err)
}

// openVersion opens a version that tells the store what is found about it.
func (s *Store) openVersion(path string) (*Version, error) {
	v, err := s.open(path)
	if err != nil {
		return nil, err
	}
	v.notice = func() {
		select {
		case s.noticed <- struct{}{}:
		default: // there will be a look already
		}
	}
	return v, nil
}

// errNoFile means that a name in a store is none of a file.
var errNoFile = errors.New("is not a file")

// rescan examines what is new, was changed or failed in the folder, and takes over the rest of before; when the folder
// is just back, only those that can be read. A folder in which every version fails has failed itself: the error says
// so, and all stays as it is until it is back.
func (s *Store) rescan(before map[string]*item, back bool) (map[string]*item, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return before, err
	}
	next := make(map[string]*item, len(before))
	usable := 0
	var failed error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || e.IsDir() {
			continue
		}
		m, err := markOf(filepath.Join(s.dir, name))
		if err != nil {
			if storeFailed(err) && strings.HasSuffix(name, Extension) {
				next[name] = &item{bad: unreadable(err), advice: adviceSystem, again: true, failed: err}
				failed = err
			}
			continue // else gone again, or no file
		}
		it := before[name]
		if it == nil || it.mark != m || it.again || it.version != nil && !it.version.sound(back) {
			it = examine(s.dir, name, m, s.openVersion)
		}
		switch {
		case it == nil:
			continue
		case it.version != nil:
			usable++
		case it.failed != nil:
			failed = it.failed
		}
		next[name] = it
	}
	if failed != nil && usable == 0 {
		return before, failed
	}
	return next, nil
}

// replace makes what a scan found the state of the store.
func (s *Store) replace(before, next map[string]*item, err error) {
	s.mu.Lock()
	if s.closed {
		// Close was faster, and has closed what was there before.
		for name, it := range next {
			if before[name] != it && it.version != nil {
				it.version.Close()
			}
		}
		s.mu.Unlock()
		return
	}
	for name, it := range s.items {
		if next[name] != it && it.version != nil {
			it.version.Close() // sessions that read it keep it open
		}
	}
	s.items, s.began, s.problem = next, time.Time{}, ""
	inv := list(next)
	if err != nil {
		s.problem = unreadable(err)
		inv = Inventory{Problem: s.problem}
	}
	inv.Store, inv.Dir, inv.Serial = s.name, s.dir, s.listed.Serial
	same := s.listed.Serial > 0 && reflect.DeepEqual(inv, s.listed)
	if !same {
		inv.Serial++
		s.listed = inv
	}
	s.mu.Unlock()
	if !same && s.changed != nil {
		s.changed(s.Inventory())
	}
}

// Inventory tells what the last scan found. Damage is that of now. A folder that does not answer is a problem,
// too.
func (s *Store) Inventory() Inventory {
	s.mu.Lock()
	defer s.mu.Unlock()
	inv := Inventory{Problem: s.problem}
	if stuck := time.Since(s.began); inv.Problem == "" && !s.began.IsZero() && stuck > stuckAfter {
		inv.Problem = fmt.Sprintf("does not answer since %v", stuck.Round(time.Second))
	}
	if inv.Problem == "" {
		inv = list(s.items)
	}
	inv.Store, inv.Dir, inv.Serial = s.name, s.dir, s.listed.Serial
	return inv
}

// Acquire gives a version to read, which stays open until the caller closes it, whatever becomes of its file.
// The error is ErrNotHere when the store does not list it.
func (s *Store) Acquire(name string, number uint32) (*Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.items[FileName(name, number)]
	if it != nil && it.version != nil && s.problem == "" && it.version.retain() {
		return it.version, nil
	}
	return nil, fmt.Errorf("%s version %d: %w", name, number, ErrNotHere)
}

// AcquireID is Acquire by identity.
func (s *Store) AcquireID(id ID) (*Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		if it.version != nil && it.version.ID() == id && s.problem == "" && it.version.retain() {
			return it.version, nil
		}
	}
	return nil, fmt.Errorf("vDisk with root %s: %w", id.Root.Short(), ErrNotHere)
}

// Close ends the store's use of its versions; those that were acquired stay open. Scan does nothing afterwards.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, it := range s.items {
		if it.version != nil {
			it.version.Close()
		}
	}
	s.items, s.closed, s.problem = map[string]*item{}, true, "is closed"
}

// Scrub scrubs every replica of the store, one after the other, at no more than rate bytes a second in all (0:
// as fast as it goes). found, which may be nil, gets each damaged object. The error is that of ctx.
func (s *Store) Scrub(ctx context.Context, rate int64, found func(*Version, Damage)) (ScrubReport, error) {
	var sum ScrubReport
	for _, r := range s.Inventory().Replicas {
		v, err := s.Acquire(r.Name, r.Number)
		if err != nil {
			continue // gone since
		}
		one, err := v.Scrub(ctx, rate, func(d Damage) {
			if found != nil {
				found(v, d)
			}
		})
		v.Close()
		sum.Objects += one.Objects
		sum.Bytes += one.Bytes
		sum.Bad += one.Bad
		sum.Unread += one.Unread
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}
