package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The parts of the NBD protocol that reading takes: the fixed newstyle negotiation without options, simple replies.
const (
	nbdMagic      = 0x4e42444d41474943 // "NBDMAGIC"
	nbdOption     = 0x49484156454f5054 // "IHAVEOPT"
	nbdRequest    = 0x25609513
	nbdReply      = 0x67446698
	nbdExportName = 1
	nbdFlags      = 1 | 2 // fixed newstyle, no zeroes
)

// Disk reads from an NBD server on a unix socket, one request at a time: what it waits for, a program on the disk
// would wait for too.
type Disk struct {
	size int64

	mu   sync.Mutex // held while a request is under way
	conn net.Conn
	next uint64 // guarded by mu
}

// OpenDisk connects to an NBD server.
func OpenDisk(socket string) (*Disk, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	d := &Disk{conn: conn}
	if err := d.negotiate(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("open %s: %w", socket, err)
	}
	return d, nil
}

func (d *Disk) negotiate() error {
	var hello [18]byte
	if _, err := io.ReadFull(d.conn, hello[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(hello[:]) != nbdMagic || binary.BigEndian.Uint64(hello[8:]) != nbdOption {
		return errors.New("not an NBD server")
	}
	b := binary.BigEndian.AppendUint32(nil, nbdFlags)
	b = binary.BigEndian.AppendUint64(b, nbdOption)
	b = binary.BigEndian.AppendUint32(b, nbdExportName)
	b = binary.BigEndian.AppendUint32(b, 0) // the default export
	if _, err := d.conn.Write(b); err != nil {
		return err
	}
	var export [10]byte
	_, err := io.ReadFull(d.conn, export[:])
	d.size = int64(binary.BigEndian.Uint64(export[:]))
	return err
}

// Size is the length of the disk in bytes.
func (d *Disk) Size() int64 { return d.size }

// ReadAt fills p with what is at off. An error that the server answers is one of the disk; the connection goes on.
func (d *Disk) ReadAt(_ context.Context, p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	var b [28]byte
	binary.BigEndian.PutUint32(b[0:], nbdRequest)
	binary.BigEndian.PutUint64(b[8:], d.next)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(len(p)))
	if _, err := d.conn.Write(b[:]); err != nil {
		return err
	}
	var head [16]byte
	if _, err := io.ReadFull(d.conn, head[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(head[:]) != nbdReply || binary.BigEndian.Uint64(head[8:]) != d.next {
		return fmt.Errorf("read %d bytes at %d: not a reply to this request: %x", len(p), off, head)
	}
	if code := binary.BigEndian.Uint32(head[4:]); code != 0 {
		return fmt.Errorf("read %d bytes at %d: %w", len(p), off, DiskError(code))
	}
	_, err := io.ReadFull(d.conn, p)
	return err
}

// DiskError is an error number of NBD, which are those of Linux.
type DiskError uint32

// EIO is what a disk answers that cannot read.
const EIO DiskError = 5

func (e DiskError) Error() string { return fmt.Sprintf("the disk answers with error %d", uint32(e)) }

// Close ends the connection, and a request that is under way.
func (d *Disk) Close() error { return d.conn.Close() }
