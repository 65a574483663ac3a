package blockdev

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
)

// KernelDevice is a Device that the kernel shows as /dev/nbdN.
type KernelDevice struct {
	// Index is N.
	Index  uint32
	server *Server
	sock   net.Conn
	kernel kernel

	unanswered *Unanswered
	left       []abandoned // by a predecessor
}

// AnyIndex lets the kernel choose the device.
const AnyIndex = ^uint32(0)

// KernelOptions say how a device is attached to the kernel.
type KernelOptions struct {
	// Index of the device, or AnyIndex.
	Index uint32
	// Unanswered is where requests are noted for a successor, and where those of a predecessor are; nil: nowhere.
	Unanswered *Unanswered
	Options
}

// kernel is the kernel's end, which tests play.
type kernel interface {
	// connect gives the kernel one end of a socket pair, and says which device it is.
	connect(index uint32, sock *os.File, d deviceShape) (uint32, error)
	// reconnect gives an attached device another socket, in place of one that has died.
	reconnect(index uint32, sock *os.File) error
	// disconnect ends a device; what is in flight there fails.
	disconnect(index uint32) error
	// tune sets what cannot be said to connect.
	tune(index uint32) error
}

// deviceShape is what the kernel is told of a device.
type deviceShape struct {
	size     int64 // bytes, a multiple of sectorSize
	readOnly bool
}

// sectorSize is the logical block size of a kernel device: a greater one makes file systems of smaller blocks unusable.
const sectorSize = 512

// errOddSize says that the end of a disk cannot be shown.
var errOddSize = errors.New("the disk's size is no multiple of 512 bytes, which the kernel needs")

// attachKernel makes a new device.
func attachKernel(k kernel, d Device, o KernelOptions) (*KernelDevice, error) {
	n, theirs, err := newKernelDevice(k, d, o)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	o.Unanswered.take() // of another device
	if n.Index, err = k.connect(o.Index, theirs, deviceShape{size: d.Size(), readOnly: d.ReadOnly()}); err != nil {
		return nil, errors.Join(err, n.sock.Close())
	}
	return n, nil
}

// resumeKernel takes over a device that a process that died had attached.
func resumeKernel(k kernel, d Device, o KernelOptions) (*KernelDevice, error) {
	n, theirs, err := newKernelDevice(k, d, o)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	n.Index = o.Index
	if err := k.reconnect(o.Index, theirs); err != nil {
		return nil, errors.Join(err, n.sock.Close())
	}
	n.left = o.Unanswered.take()
	return n, nil
}

func newKernelDevice(k kernel, d Device, o KernelOptions) (*KernelDevice, *os.File, error) {
	if d.Size()%sectorSize != 0 || d.Size() == 0 {
		return nil, nil, errOddSize
	}
	s, err := NewServer(d, o.Options)
	if err != nil {
		return nil, nil, err
	}
	mine, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	return &KernelDevice{server: s, sock: mine, kernel: k, unanswered: o.Unanswered}, theirs, nil
}

// Tune sets the queue of the device in sysfs: large requests, read-ahead of its own, no seeks. An error is no reason not to
// use the device. It must be called while Serve runs, because the kernel may read the device meanwhile.
func (n *KernelDevice) Tune() error { return n.kernel.tune(n.Index) }

// Serve answers the kernel until ctx ends, or the kernel ends the connection, which is an error. What is not answered then
// waits in the kernel for a successor (ResumeKernel), or for Disconnect. A successor answers at once what is Unanswered; the rest the
// kernel sends again, some seconds later.
func (n *KernelDevice) Serve(ctx context.Context) error {
	c := newConnection(n.server, n.sock)
	if err := n.server.add(c); err != nil {
		return errors.Join(err, n.sock.Close())
	}
	defer n.server.remove(c)
	defer c.cancel()
	stop := context.AfterFunc(ctx, func() {
		_ = n.sock.Close() // first: the kernel must not hear of requests that are abandoned
		c.cancel()
	})
	defer stop()
	c.unanswered = n.unanswered
	c.answer(n.left)
	err := c.run()
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errLeft), errors.Is(err, io.EOF):
		return ErrDisconnected
	}
	return err
}

// ErrDisconnected says that the kernel has let go of a device.
var ErrDisconnected = errors.New("the kernel has disconnected the device")

// Disconnect ends the device: what is in flight there fails, and so does what comes.
func (n *KernelDevice) Disconnect() error { return n.kernel.disconnect(n.Index) }

// Stats tells what was asked of the device through this process.
func (n *KernelDevice) Stats() Stats { return n.server.Stats() }
