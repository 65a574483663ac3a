package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmdemo/clock"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// clockCommand is the argument by which this program is the clock of the machine.
const clockCommand = "clock"

// diskVariable tells the process in the namespace where the vDisk lies that was made outside.
const diskVariable = "SPATE_VMDEMO_DISK"

const tunDevice = "/dev/net/tun"

// standardLength is how long the show goes on where no person watches.
const standardLength = time.Minute

type options struct {
	bin, dir string
	length   time.Duration
	every    time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := start(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run-vm:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

func start(ctx context.Context) (status int, err error) {
	if len(os.Args) == 2 && os.Args[1] == clockCommand {
		return 0, runClock(ctx)
	}
	var o options
	flag.StringVar(&o.bin, "bin", "build", "folder of the programs")
	flag.StringVar(&o.dir, "dir", "build/run-vm", "folder for the vDisk, which is used again")
	flag.DurationVar(&o.length, "for", 0, "how long to go on once the machine's clock ticks; 0 on a terminal: until interrupted, elsewhere: a minute")
	flag.DurationVar(&o.every, "every", 10*time.Second, "how often something happens to a server")
	flag.Parse()
	if o.length == 0 && !onTerminal() {
		o.length = standardLength
	}
	for _, p := range []*string{&o.bin, &o.dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return 1, err
		}
	}
	if disk := os.Getenv(diskVariable); disk != "" {
		if _, inside, err := vmlab.Enclose(); err != nil || !inside {
			return 1, errors.Join(err, errors.New(diskVariable+" is set outside of the demonstration"))
		}
		return 0, show(ctx, o, disk)
	}
	if err := missing(); err != nil {
		return 1, err
	}
	return outside(ctx, o)
}

// missing names all that this computer lacks for the show.
func missing() error {
	var lines []string
	if list := vmlab.MissingPackages(); len(list) > 0 {
		lines = append(lines, "Debian packages: apt-get install "+strings.Join(list, " "))
	}
	if os.Getuid() != 0 {
		lines = append(lines, "root, who alone makes network namespaces and a root file system: run it as root")
	}
	if _, err := os.Stat(tunDevice); err != nil {
		lines = append(lines, "the network cable of a virtual machine: "+err.Error())
	}
	if lines == nil {
		return vmlab.Missing()
	}
	return fmt.Errorf("this takes what is not here:\n  %s", strings.Join(lines, "\n  "))
}

// outside makes what takes the computer's own network, and runs the rest in one of its own.
func outside(ctx context.Context, o options) (status int, err error) {
	var system vmtest.System
	err = patiently("Debian with systemd is installed into a folder (mmdebstrap; once, a minute or two)", func() (err error) {
		system, err = vmtest.PrepareSystem(ctx)
		return err
	})
	if err != nil {
		return 1, err
	}
	disk, err := makeDisk(ctx, o, system)
	if err != nil {
		return 1, err
	}
	if err := os.Setenv(diskVariable, disk); err != nil {
		return 1, err
	}
	status, inside, err := vmlab.Enclose()
	if inside { // we were started in a namespace
		return 0, show(ctx, o, disk)
	}
	return status, err
}

// runClock is what the machine runs.
func runClock(ctx context.Context) error {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer console.Close()
	return (&clock.Clock{Blocks: "/" + blocksFile, Diary: "/var/log/diary", Console: console}).Run(ctx)
}

// quickly is how long something may take before it is said what is being waited for, often how often that is said again.
const (
	quickly = time.Second
	often   = 10 * time.Second
)

// patiently says what is being done when that takes a while, and then how long it took.
func patiently(what string, do func() error) error {
	begin, ended := time.Now(), make(chan struct{})
	said := make(chan bool)
	go func() { // ends when do has returned, and is waited for
		next := quickly
		for {
			select {
			case <-time.After(next):
				fmt.Printf("%s … %.0f s\n", what, time.Since(begin).Seconds())
				next = often
			case <-ended:
				said <- next == often
				return
			}
		}
	}()
	err := do()
	close(ended)
	if <-said && err == nil {
		fmt.Printf("%s: %.0f s\n", what, time.Since(begin).Seconds())
	}
	return err
}
