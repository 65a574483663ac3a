package netboot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootline"
	"github.com/spate-project/spate/cmd/internal/keeper"
	"github.com/spate-project/spate/cmd/internal/nic"
)

// machine is the machine that is booted. It belongs to the goroutine of Run.
type machine struct {
	program string
	line    bootline.Line
	con     *console
	modules *loader

	keeper *keeper.Keeper
	events chan keeper.Event // closed when the keeper has gone
	disk   *keeper.Disk
	// ask asks for a line from the console, and pressed says that one has come; nil without a shell.
	ask, pressed chan struct{}

	entropy  sync.Once  // of awaitEntropy
	children sync.Mutex // held by whoever waits for a child of its own; the reaper takes all others
}

// Run is PID 1. It never returns: it becomes the system's init. Program is how the machine names itself to servers.
func Run(program string) {
	err := mountEarly()
	m := &machine{program: program, con: newConsole()}
	if err != nil {
		m.con.line(err.Error())
	}
	m.con.line("init: " + program)
	_ = os.Symlink("/init", "/sbin/modprobe") // the boot image has its own, or none is needed
	go m.reap()                               // for ever
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		m.con.line(err.Error())
	}
	var mistakes []string
	m.line, mistakes = bootline.Parse(string(text))
	if _, bad := nic.ParseStatic(string(text)); bad != "" {
		mistakes = append(mistakes, bad)
	}
	for _, s := range mistakes {
		m.con.line(s)
	}
	if m.line.Shell {
		m.ask, m.pressed = make(chan struct{}, 1), make(chan struct{}, 1)
		go m.listen() // for ever
	}
	m.modules = newLoader(m.con.line)
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		m.con.line(m.attempt().Error())
		offer := ""
		if m.line.Shell {
			offer = "; Enter opens a shell"
		}
		m.con.linef("trying again in %d s%s", int(delay.Seconds()), offer)
		_ = m.await(time.After(delay)) // a keeper that has gone is seen by the next attempt
	}
}

// attempt does what has not been done yet. It returns what went wrong.
func (m *machine) attempt() (err error) {
	defer func() {
		// A mistake of ours must not stop the kernel; it is told like any other.
		if p := recover(); p != nil {
			err = fmt.Errorf("this is a mistake in spate-target, please report it: %v", p)
		}
	}()
	m.modules.base()
	m.modules.devices(m.line.Card)
	// Behind the driver of a random number generator, which gives them at once: waiting makes the kernel gather them from
	// the jitter of its own execution, for a second and at half the speed of everything else.
	m.entropy.Do(func() { go awaitEntropy(m.con) }) // ends when the kernel has random numbers
	if m.keeper == nil {
		if err := m.start(); err != nil {
			return err
		}
	}
	if m.disk == nil {
		if err := m.await(nil); err != nil {
			return err
		}
	}
	if err := m.root(); err != nil {
		unmountRoot()
		return err
	}
	m.tell(keeper.RootMounted, sinceStart())
	m.handOver()
	return m.become()
}

// start starts the keeper.
func (m *machine) start() error {
	c := keeper.Config{Line: m.line, Program: m.program}
	if m.line.DeviceKey != "" {
		key, err := os.ReadFile(m.line.DeviceKey)
		if err != nil {
			return fmt.Errorf("key of this device (spate.device-key=): %w", err)
		}
		c.DeviceKey = key
	}
	loaded := sinceStart()       // before the keeper is made, which takes a part of a second on a slow machine
	initramfs, _ := os.Open("/") // without it nobody frees its memory, no more
	defer initramfs.Close()
	m.children.Lock()
	k, err := keeper.Start(c, initramfs)
	m.children.Unlock()
	if err != nil {
		return err
	}
	m.keeper, m.disk, m.events = k, nil, make(chan keeper.Event)
	m.tell(keeper.InitRuns, loaded)
	// Ends when the keeper does; nobody waits for it.
	go func(events chan keeper.Event) {
		defer close(events)
		for {
			e, err := k.Next(context.Background())
			if err != nil {
				if !errors.Is(err, io.EOF) {
					m.con.line("keeper: " + err.Error())
				}
				return
			}
			events <- e
		}
	}(m.events)
	return nil
}

// tell tells of a stage. A keeper that has gone is told nothing; its worker goes on.
func (m *machine) tell(s keeper.Stage, at time.Duration) {
	if m.keeper == nil {
		return
	}
	if err := m.keeper.Tell(s, at); err != nil {
		m.con.line("keeper: " + err.Error())
	}
}

// await shows what happens until the disk is attached, or, when it is given, until the end of a time.
func (m *machine) await(end <-chan time.Time) error {
	look := time.NewTicker(lookLater)
	defer look.Stop()
	m.offer()
	for {
		select {
		case <-end:
			return nil
		case e, ok := <-m.events:
			if !ok {
				m.keeper, m.disk, m.events = nil, nil, nil
				return errors.New("the keeper of the disk has ended, which it never should; starting another one")
			}
			m.show(e)
			if m.disk != nil && end == nil {
				return nil
			}
		case <-look.C:
			m.modules.devices(nil)
			m.modules.orphans()
		case <-m.pressed:
			m.shell()
			m.offer()
		}
	}
}

// show puts an event on the console.
func (m *machine) show(e keeper.Event) {
	switch e.Kind {
	case keeper.Line, keeper.Problem:
		m.con.at(e.At, e.Text)
	case keeper.Ready:
		if m.disk = e.Disk; m.disk != nil {
			m.con.at(e.At, fmt.Sprintf("disk: %s@%d is %s, %d MiB, served by %s", m.disk.VDisk, m.disk.Version, m.disk.Device, m.disk.Size>>20, m.disk.Server))
		}
	case keeper.Reached: // the servers are told; on the console the lines say it
	}
}

// handOver tells the system's network services to leave the card alone.
func (m *machine) handOver() {
	lease, err := nic.LoadState()
	if err == nil {
		err = nic.HandOver("/run", newRoot, lease)
	}
	if err != nil {
		m.con.line("network: the system is not told of its address, and may drop it for a moment: " + err.Error())
	}
}

// become becomes the system's init.
func (m *machine) become() error {
	names := candidates(m.line)
	var complaints []error
	// Those behind it are not looked for: each look reads folders from the vDisk, and exec says what is wrong with them.
	first := slices.IndexFunc(names, func(name string) bool {
		err := checkInit(newRoot, name)
		if err != nil {
			complaints = append(complaints, fmt.Errorf("%s %w", name, err))
		}
		return err == nil
	})
	if first < 0 {
		unmountRoot()
		return fmt.Errorf("the root file system has no init: %s", strings.ReplaceAll(errors.Join(complaints...).Error(), "\n", ", "))
	}
	usable := names[first:]
	if first > 0 {
		m.con.linef("init= does not work, taking %s: %v", usable[0], complaints[0])
	}
	if err := makePlaces(newRoot); err != nil {
		unmountRoot()
		return err
	}
	m.con.linef("starting %s", usable[0])
	if err := switchRoot(); err != nil {
		return err
	}
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		m.tell(keeper.SystemRuns, sinceStart())
		err := execInit(usable, os.Args[1:], environment())
		// The old root is gone: all that is left is to try again.
		m.con.line("no init of the root file system can be started: " + strings.ReplaceAll(err.Error(), "\n", ", "))
		_ = m.await(time.After(delay)) // the keeper is of no more use here
	}
}

// environment is what the kernel gave, without what Go's runtime reads.
func environment() (out []string) {
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GO") {
			out = append(out, e)
		}
	}
	return out
}

// reap takes ended processes that nobody waits for.
func (m *machine) reap() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for range ended {
		m.children.Lock()
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		m.children.Unlock()
	}
}

// awaitEntropy makes the kernel gather random numbers from the start, and says when that takes long: keys wait for them.
func awaitEntropy(con *console) {
	b := make([]byte, 1)
	if n, _ := unix.Getrandom(b, unix.GRND_NONBLOCK); n == 1 {
		return
	}
	late := time.AfterFunc(entropyPatience, func() {
		con.line("waiting for the kernel's random numbers, which keys are made of; a machine with a random number generator (virtio-rng in a virtual one) has them at once")
	})
	defer late.Stop()
	for {
		if n, _ := unix.Getrandom(b, 0); n == 1 {
			return
		}
	}
}

// offer has Enter looked for, where that opens a shell.
func (m *machine) offer() {
	select {
	case m.ask <- struct{}{}:
	default: // it is looked for already, or there is no shell
	}
}

// listen reads a line from the console whenever one is asked for: a shell needs the console for itself.
func (m *machine) listen() {
	for range m.ask {
		f, err := os.OpenFile("/dev/console", os.O_RDONLY|unix.O_NOCTTY, 0)
		if err != nil {
			continue
		}
		b := make([]byte, 64)
		if n, err := f.Read(b); err == nil && n > 0 { // a line: the terminal collects it
			m.pressed <- struct{}{}
		}
		f.Close()
	}
}

// shells are the programs that may be a shell, with their arguments.
var shells = [][]string{{"/bin/busybox", "sh"}, {"/bin/sh"}, {"/bin/bash"}}

// shell runs a shell on the console: that of the boot image, or of the root when that is mounted.
func (m *machine) shell() {
	for _, root := range []string{"/", newRoot} {
		for _, s := range shells {
			if checkInit(root, s[0]) != nil {
				continue
			}
			m.con.linef("shell %s; exit leaves it", s[0])
			if err := m.run(root, s); err != nil {
				m.con.line("shell: " + err.Error())
			}
			return
		}
	}
	m.con.line("there is no shell: neither the boot image has one (spate bootimage build --add /bin/busybox:/bin/busybox), nor is a root file system mounted that has one")
}

func (m *machine) run(root string, argv []string) error {
	tty, err := os.OpenFile("/dev/console", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer tty.Close()
	m.children.Lock()
	defer m.children.Unlock()
	for _, control := range []bool{true, false} { // some consoles cannot be a controlling terminal
		c := exec.Command(argv[0], argv[1:]...)
		c.Stdin, c.Stdout, c.Stderr, c.Dir = tty, tty, tty, "/"
		c.Env = []string{"PATH=/sbin:/usr/sbin:/bin:/usr/bin", "TERM=linux", "HOME=/"}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: control}
		if root != "/" {
			c.SysProcAttr.Chroot = root
		}
		if err = c.Start(); err == nil {
			var exit *exec.ExitError
			if err = c.Wait(); errors.As(err, &exit) {
				err = nil // what its last command returned
			}
			return err
		}
	}
	return err
}
