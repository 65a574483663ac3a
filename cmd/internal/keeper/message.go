package keeper

import (
	"time"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// Command is the hidden command of spate-target that is keeper or worker, by its argument.
const (
	Command    = "keeper"
	RoleKeeper = "keep"
	RoleWorker = "work"
	RoleHeir   = "heir" // a keeper after one that has died
)

// A name that begins with @ tells systemd that the process serves the root file system.
const (
	keeperName = "@spate-keeper"
	workerName = "@spate-worker"
	// binaryName is how the memory with the program is called.
	binaryName = "spate-target"
)

// Config is what PID 1 tells the keeper, and the keeper each worker.
type Config struct {
	// Line is what the kernel's command line says.
	Line bootline.Line `json:"line"`
	// DeviceKey is the private key of the device, empty when the command line names no file; a fresh one is made then.
	DeviceKey []byte `json:"device_key,omitempty"`
	// Program is how the worker names itself to servers.
	Program string `json:"program"`
	// Binary is what is run as keeper and worker; empty: this program.
	Binary string `json:"-"`
}

// Kind says what an Event is.
type Kind string

// The kinds of events.
const (
	// Line is a line for the console.
	Line Kind = "line"
	// Problem is a line for the console that somebody may have to act on.
	Problem Kind = "problem"
	// Reached says that a stage of the boot was reached.
	Reached Kind = "stage"
	// Ready says that the disk is attached, and that its root file system can be mounted.
	Ready Kind = "attached"
)

// Event is what the keeper tells PID 1.
type Event struct {
	Kind Kind `json:"kind"`
	// At is the time since the kernel was started.
	At time.Duration `json:"at"`
	// Text is the line of Line and Problem.
	Text string `json:"text,omitempty"`
	// Stage is that of Reached.
	Stage Stage `json:"stage,omitempty"`
	// Disk is that of Ready.
	Disk *Disk `json:"disk,omitempty"`
}

// Stage is a stage of the boot.
type Stage string

// The stages in their order, and who tells them.
const (
	InitRuns    Stage = "init"    // PID 1: spate-target as /init runs, and has loaded the modules
	NetworkUp   Stage = "network" // worker: the card has its address
	LoggedIn    Stage = "login"   // worker: a server serves
	Attached    Stage = "disk"    // worker: the block device is there
	RootMounted Stage = "root"    // PID 1: the root file system is mounted
	SystemRuns  Stage = "system"  // PID 1: about to become the system's init; from here lines go to the kernel's log
)

// Disk is an attached disk.
type Disk struct {
	Device  string `json:"device"` // /dev/nbd0
	Size    int64  `json:"size"`   // bytes
	VDisk   string `json:"vdisk"`
	Version uint32 `json:"version"`
	Server  string `json:"server"`
}
