package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// packetBuffer is the receive buffer of a packet socket in bytes: what arrives while the loop is not scheduled.
const packetBuffer = 4 << 20

// packetSocket sends and receives the datagrams of one port past the packet filter.
type packetSocket struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	mac   [6]byte

	mu     sync.Mutex // guards what follows
	frame  [MaxReceive]byte
	length int // of the frame that is sent
	to     unix.RawSockaddrLinklayer
	sent   unix.Errno
	call   func(fd uintptr)

	// What follows belongs to the one goroutine that receives.
	from  unix.RawSockaddrLinklayer
	buf   []byte
	n     int
	errno unix.Errno
	wait  func(fd uintptr) bool
	look  func(fd uintptr)
}

// openPacket listens on an interface for datagrams to port, and for ARP replies.
func openPacket(index int, port uint16) (*packetSocket, error) {
	card, err := net.InterfaceByIndex(index)
	if err != nil {
		return nil, err
	}
	if len(card.HardwareAddr) != 6 {
		return nil, fmt.Errorf("%s is no Ethernet card", card.Name)
	}
	// Protocol 0 receives nothing until the filter stands and the socket is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := preparePacket(fd, index, port); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	p := &packetSocket{file: os.NewFile(uintptr(fd), "packet socket"), index: index, mac: [6]byte(card.HardwareAddr)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, p.file.Close())
	}
	p.wait = func(fd uintptr) bool { p.recv(fd); return p.errno != unix.EAGAIN }
	p.look = p.recv
	p.call = p.sendto
	return p, nil
}

func preparePacket(fd, index int, port uint16) error {
	filter, err := bpf.Assemble(packetFilter(port))
	if err != nil {
		return fmt.Errorf("the filter of a packet socket: %w", err)
	}
	program := make([]unix.SockFilter, len(filter))
	for i, r := range filter {
		program[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("the filter of a packet socket: %w", err)
	}
	buffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, packetBuffer, packetBuffer)
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swapped(unix.ETH_P_ALL), Ifindex: index})
	if err != nil {
		return fmt.Errorf("bind a packet socket: %w", err)
	}
	return nil
}

// swapped is a number as the kernel wants it here, in the order of the network.
func swapped(n uint16) uint16 { return n<<8 | n>>8 }

// packetFilter lets through the whole datagrams to port over IPv4 that came from outside, and ARP replies. Frames
// begin with their network header.
func packetFilter(port uint16) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 12},
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_ARP, SkipFalse: 2},
		bpf.LoadAbsolute{Off: 6, Size: 2}, // ARP: operation
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arpReply, SkipTrue: 9, SkipFalse: 8},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 7},
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipFalse: 5},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: ipFragment, SkipTrue: 3},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.RetConstant{Val: MaxReceive},
	}
}

func (p *packetSocket) recv(fd uintptr) {
	size := uint32(unix.SizeofSockaddrLinklayer)
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p.buf[0])), uintptr(len(p.buf)), unix.MSG_DONTWAIT|unix.MSG_TRUNC,
			uintptr(unsafe.Pointer(&p.from)), uintptr(unsafe.Pointer(&size)))
		if errno != unix.EINTR {
			p.n, p.errno = int(n), errno
			return
		}
	}
}

// receive brings one datagram. With block it waits for it; without, false says that there is none.
func (p *packetSocket) receive(b *Batch, known *neighbours, block bool) (bool, error) {
	if len(b.Buf) < MaxReceive {
		return false, errShortBuffer
	}
	p.buf = b.Buf
	defer func() { p.buf = nil }()
	for {
		var err error
		if block {
			err = p.raw.Read(p.wait)
		} else {
			err = p.raw.Control(p.look)
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, os.ErrDeadlineExceeded
		case err != nil:
			return false, net.ErrClosed
		case p.errno == unix.EAGAIN:
			return false, nil
		case p.errno == unix.ENOBUFS || p.errno == 0 && p.n > len(b.Buf):
			continue // lost, and asked for again
		case p.errno != 0:
			return false, os.NewSyscallError("recvfrom", p.errno)
		}
		if p.take(b, known) {
			return true, nil
		}
	}
}

// take makes a batch of what was received, or learns from it.
func (p *packetSocket) take(b *Batch, known *neighbours) bool {
	data := b.Buf[:p.n]
	if swapped(p.from.Protocol) == unix.ETH_P_ARP {
		if addr, mac, ok := parseARP(data); ok {
			known.learn(addr, mac)
		}
		return false
	}
	from, to, payload, ok := parseFrame(data)
	if !ok {
		return false
	}
	known.learn(from.Addr(), [6]byte(p.from.Addr[:6]))
	b.Data, b.Segment, b.From, b.To = payload, len(payload), from, to.Addr()
	return true
}

// send sends one datagram.
func (p *packetSocket) send(payload []byte, from, to netip.AddrPort, mac [6]byte) error {
	if len(payload) > len(p.frame)-frameHeader {
		return errFrame
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := p.frame[:frameHeader+len(payload)]
	copy(frame[frameHeader:], payload)
	putFrame(frame, from, to)
	return p.write(frame, unix.ETH_P_IP, mac)
}

// ask sends an ARP request. That it could not be sent shows in that no answer comes.
func (p *packetSocket) ask(hop Hop) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frame := p.frame[:arpSize]
	putARP(frame, p.mac, hop.Source, hop.Next)
	_ = p.write(frame, unix.ETH_P_ARP, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

// write sends a frame that begins at p.frame. p.mu is held.
func (p *packetSocket) write(frame []byte, protocol uint16, mac [6]byte) error {
	p.length = len(frame)
	p.to = unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Protocol: swapped(protocol), Ifindex: int32(p.index), Halen: 6,
	}
	copy(p.to.Addr[:], mac[:])
	switch err := p.raw.Control(p.call); {
	case err != nil:
		return net.ErrClosed
	case p.sent == 0:
		return nil
	case p.sent == unix.EMSGSIZE:
		return ErrTooBig
	case p.sent == unix.EAGAIN || p.sent == unix.ENOBUFS:
		return ErrDropped
	default:
		return ErrUnreachable
	}
}

func (p *packetSocket) sendto(fd uintptr) {
	for {
		_, _, p.sent = unix.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p.frame[0])), uintptr(p.length), unix.MSG_DONTWAIT,
			uintptr(unsafe.Pointer(&p.to)), unix.SizeofSockaddrLinklayer)
		if p.sent != unix.EINTR {
			return
		}
	}
}

func (p *packetSocket) close() {
	_ = p.file.SetReadDeadline(time.Unix(1, 0)) // whoever receives comes back
	_ = p.file.Close()                          // frames are lost with it, as they may be
}
