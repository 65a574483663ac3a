package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The delayed link: a TUN device in each namespace, and this process between them. Not every kernel can delay
// packets itself, and a relay that ends connections would treat TCP and UDP differently; this one moves packets.
const (
	oneWay        = 250 * time.Microsecond
	linkBits      = 1e9                  // a second
	longestQueue  = 5 * time.Millisecond // of packets that wait for the wire; a packet beyond is dropped
	maxPacket     = 1500
	packetBuffers = 1024
)

// delayed is a running delayed link.
type delayed struct {
	ends [2]*os.File
	all  sync.WaitGroup
}

// packet waits for its time to arrive.
type packet struct {
	buf []byte
	due time.Time
}

// makeDelayedLink connects the namespaces, which must be there.
func makeDelayedLink(ctx context.Context) (*delayed, error) {
	d := &delayed{}
	for n, x := range [2][3]string{{linkServer, linkServerCard, linkServerAddr}, {linkClient, linkClientCard, linkClientAddr}} {
		f, err := openTun(x[1])
		if err != nil {
			d.close()
			return nil, err
		}
		d.ends[n] = f
		for _, line := range []string{"ip link set " + x[1] + " netns " + x[0]} {
			if _, err := command(ctx, "", strings.Fields(line)[0], strings.Fields(line)[1:]...); err != nil {
				d.close()
				return nil, err
			}
		}
		for _, line := range []string{"ip link set lo up", "ip addr add " + x[2] + "/30 dev " + x[1], "ip link set " + x[1] + " up"} {
			if _, err := command(ctx, x[0], strings.Fields(line)[0], strings.Fields(line)[1:]...); err != nil {
				d.close()
				return nil, err
			}
		}
	}
	for n := range d.ends { // each pair of goroutines ends when the ends are closed; close waits
		queue, free := make(chan packet, packetBuffers), make(chan []byte, packetBuffers)
		for range packetBuffers {
			free <- make([]byte, maxPacket)
		}
		d.all.Go(func() { take(d.ends[n], queue, free) })
		d.all.Go(func() { deliver(d.ends[1-n], queue, free) })
	}
	return d, nil
}

func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the device %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// take reads packets, gives each the time at which it arrives at the other end, and drops what the wire has no
// room for.
func take(from *os.File, queue chan<- packet, free <-chan []byte) {
	defer close(queue)
	var (
		wire  time.Time // when the wire is free again
		buf   []byte    // nil when all are on their way
		spare = make([]byte, maxPacket)
	)
	for {
		if buf == nil {
			select {
			case buf = <-free:
			default:
			}
		}
		into := buf
		if into == nil {
			into = spare
		}
		n, err := from.Read(into)
		if err != nil {
			return
		}
		now := time.Now()
		if wire.Before(now) {
			wire = now
		}
		if buf == nil || wire.Sub(now) > longestQueue {
			continue
		}
		wire = wire.Add(time.Duration(float64(n) * 8 / linkBits * float64(time.Second)))
		queue <- packet{buf[:n], wire.Add(oneWay)}
		buf = nil
	}
}

// deliver writes each packet when it is due.
func deliver(to *os.File, queue <-chan packet, free chan<- []byte) {
	for p := range queue {
		if wait := time.Until(p.due); wait > 0 {
			pause := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&pause, nil) // finer than a Go timer; early is harmless
		}
		_, err := to.Write(p.buf)
		free <- p.buf[:maxPacket]
		if errors.Is(err, os.ErrClosed) {
			for range queue { // until take has ended
			}
			return
		}
	}
}

func (d *delayed) close() {
	for _, f := range d.ends {
		if f != nil {
			f.Close()
		}
	}
	d.all.Wait()
}
