package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/Merovius/nbd/nbdnl"
	"golang.org/x/sys/unix"
)

const (
	// deadFor is how long the kernel keeps requests of a device whose process has died for a successor.
	deadFor = 7 * 24 * time.Hour
	// sendWriteZeroes is NBD_FLAG_SEND_WRITE_ZEROES, which kernels since 6.13 know; others do not look at it.
	sendWriteZeroes = exportWriteZeroes
	// socketBuffer is room in bytes for some replies of the largest size, so that a reader's wake-up is not a writer's.
	socketBuffer = 1 << 20
)

// The queue of a device, as sysfs has it.
var queue = []struct{ name, value string }{
	{"max_sectors_kb", "1024"}, // 128 by itself, which cuts every long read into eight
	// As much as the kernel takes by itself. It reads so much around a page that a program touches, and the boot of a system is
	// thousands of such pages: 1024 brought 24.4 MB over the link in place of 19.7, and was no faster on any link. Who reads a
	// long file is read ahead for by remote.
	{"read_ahead_kb", "128"},
	{"rotational", "0"},
	{"add_random", "0"},
	// After so long the kernel looks at a request again. One that a process took with it when it died is sent to the
	// successor then, not before, unless the successor knows of it (Unanswered, which counts on 5 s); one that waits for a server is
	// only noted in the kernel's log.
	{"io_timeout", "5000"},
	// Writes that wait, because the write cache is full, must not keep reads waiting: neither by the 128 requests that the kernel gives
	// to nbd at once, nor by the memory for what is in flight (Options.Memory; a write has 1 MiB at the most). The scheduler, which is
	// mq-deadline unless somebody changes it, gives this part of its 256 requests to whatever is no read: 8 of them, or 24 in kernels that count
	// in words of 64 requests (before 6.10).
	{"iosched/async_depth", "6"},
}

// AttachKernel shows d as a device of the kernel; Serve must be called at once. It needs the module nbd.
func AttachKernel(d Device, o KernelOptions) (*KernelDevice, error) {
	n, err := attachKernel(netlinkKernel{}, d, o)
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", deviceName(o.Index), err)
	}
	return n, nil
}

// ResumeKernel takes over the device o.Index, whose process has died.
func ResumeKernel(d Device, o KernelOptions) (*KernelDevice, error) {
	n, err := resumeKernel(netlinkKernel{}, d, o)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", deviceName(o.Index), err)
	}
	return n, nil
}

// KernelAttached tells whether a device is attached, by whatever process.
func KernelAttached(index uint32) bool {
	_, err := os.Stat(fmt.Sprintf("/sys/block/nbd%d/pid", index))
	return err == nil
}

// ReleaseKernel ends a device whose process has died, and returns when it has ended. What is in flight there fails.
func ReleaseKernel(index uint32) error {
	if err := (netlinkKernel{}).disconnect(index); err != nil {
		return fmt.Errorf("release %s: %w", deviceName(index), err)
	}
	for range releaseLooks {
		if !KernelAttached(index) {
			return nil
		}
		time.Sleep(releaseLook)
	}
	return fmt.Errorf("release %s: somebody still holds it open", deviceName(index))
}

// The kernel ends a device some time after it was told to.
const (
	releaseLooks = 200
	releaseLook  = 10 * time.Millisecond
)

// KernelIndex reads auto, nbdN or /dev/nbdN.
func KernelIndex(s string) (uint32, error) {
	if s == "auto" {
		return AnyIndex, nil
	}
	digits, ok := strings.CutPrefix(strings.TrimPrefix(s, "/dev/"), "nbd")
	n, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is no device of the kernel's NBD driver: write /dev/nbd0 or auto", s)
	}
	return uint32(n), nil
}

func deviceName(index uint32) string {
	if index == AnyIndex {
		return "a device of the kernel"
	}
	return fmt.Sprintf("/dev/nbd%d", index)
}

// Path is the device's file.
func (n *KernelDevice) Path() string { return deviceName(n.Index) }

// socketPair makes two connected sockets.
func socketPair() (mine net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	for _, fd := range fds {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, socketBuffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, socketBuffer)
		}
	}
	theirs = os.NewFile(uintptr(fds[1]), "nbd")
	own := os.NewFile(uintptr(fds[0]), "nbd")
	defer own.Close()
	if mine, err = net.FileConn(own); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make a socket pair: %w", err), theirs.Close())
	}
	return mine, theirs, nil
}

// netlinkKernel is the kernel's driver nbd.
type netlinkKernel struct{}

func (netlinkKernel) connect(index uint32, sock *os.File, d deviceShape) (uint32, error) {
	flags := nbdnl.FlagHasFlags | nbdnl.FlagSendFlush | nbdnl.FlagSendTrim | sendWriteZeroes
	if d.readOnly {
		flags = nbdnl.FlagHasFlags | nbdnl.FlagReadOnly
	}
	// One socket and no time-out: slowness must not be taken for death. With one that can die for so long, a successor loses
	// nothing.
	n, err := nbdnl.Connect(index, []*os.File{sock}, uint64(d.size), 0, flags,
		nbdnl.WithBlockSize(sectorSize), nbdnl.WithDeadconnTimeout(deadFor))
	return n, driverMissing(err)
}

func (netlinkKernel) reconnect(index uint32, sock *os.File) error {
	return driverMissing(nbdnl.Reconfigure(index, []*os.File{sock}, 0, 0, nbdnl.WithDeadconnTimeout(deadFor)))
}

func (netlinkKernel) disconnect(index uint32) error { return driverMissing(nbdnl.Disconnect(index)) }

// driverMissing says what to do about the commonest mistakes.
func driverMissing(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the kernel has no driver nbd; load it with: modprobe nbd (%w)", err)
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("only root may attach devices to the kernel (%w)", err)
	case errors.Is(err, syscall.EBUSY):
		return fmt.Errorf("it is in use; name another one, or auto (%w)", err)
	}
	return err
}

func (netlinkKernel) tune(index uint32) error {
	return tuneQueue(filepath.Join("/sys/block", fmt.Sprintf("nbd%d", index), "queue"))
}

// tuneQueue sets what is not yet as it should be. Kernels since 6.11 let everything in flight come to its end before they store any
// value, and nothing new begin: behind a worker that died, all would wait for what died with it.
func tuneQueue(dir string) error {
	var bad []error
	for _, q := range queue {
		name := filepath.Join(dir, q.name)
		was, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(was)) == q.value {
			continue // not every kernel has every one
		}
		if err := os.WriteFile(name, []byte(q.value), 0o644); err != nil {
			bad = append(bad, err)
		}
	}
	return errors.Join(bad...)
}
