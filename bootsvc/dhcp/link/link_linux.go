package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Socket is a packet socket on one interface. It hears what it was opened for, also what this machine sends, but nothing of other VLANs
// on the same cable, and sends any frame. It is safe for concurrent use.
type Socket struct {
	file  *os.File
	group *os.File // keeps this machine in a multicast group; may be nil
	iface net.Interface
}

// Listen opens a packet socket on an interface that hears ARP and what is sent to the DHCP client's port. It needs CAP_NET_RAW.
func Listen(iface string) (*Socket, error) { return listen(iface, arpAndReplies) }

func listen(iface string, program []bpf.Instruction) (*Socket, error) {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", iface, err)
	}
	if len(i.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s has no MAC address; name the Ethernet card or the bridge that the machines are connected to", iface)
	}
	all := int(htons(unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, privileges(fmt.Errorf("open a packet socket on %s: %w", iface, err))
	}
	// The filter stands before the socket is bound: nothing else is ever queued.
	err = filter(fd, slices.Concat(ownNetwork, program))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: i.Index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind a packet socket to %s: %w", iface, err)
	}
	return &Socket{file: os.NewFile(uintptr(fd), "packet "+iface), iface: *i}, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// privileges adds what to do when the system says no.
func privileges(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w; run it as root, or give it CAP_NET_RAW and CAP_NET_BIND_SERVICE", err)
	}
	return err
}

// ownNetwork stands before each filter. A packet socket hears the frames of all VLANs that reach its card, with their tags beside
// them; the card itself stands in one network, to which belongs what has no tag, or tag 0: that gives a priority alone.
var ownNetwork = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtVLANTag},
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vlanNumber},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1},
	bpf.RetConstant{Val: 0},
}

// vlanNumber is the number of the VLAN in a tag (IEEE 802.1Q); the other bits are priority.
const vlanNumber = 0xfff

// arpAndReplies lets through ARP, and UDP over IPv4 to port 68.
var arpAndReplies = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherARP, SkipTrue: 6},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: etherIPv4, SkipFalse: 6},
	bpf.LoadAbsolute{Off: 23, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: protoUDP, SkipFalse: 4},
	bpf.LoadMemShift{Off: ethernet},
	bpf.LoadIndirect{Off: ethernet + 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: 68, SkipFalse: 1},
	bpf.RetConstant{Val: 1 << 16},
	bpf.RetConstant{Val: 0},
}

func filter(fd int, instructions []bpf.Instruction) error {
	program, err := bpf.Assemble(instructions)
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(program))
	for i, r := range program {
		raw[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]})
}

// MAC is the interface's hardware address.
func (s *Socket) MAC() MAC { return MAC(s.iface.HardwareAddr) }

// Read waits for the next frame. It fails with os.ErrClosed after Close and os.ErrDeadlineExceeded after the deadline.
func (s *Socket) Read(b []byte) (int, error) { return s.file.Read(b) }

// Write sends one frame.
func (s *Socket) Write(b []byte) error {
	_, err := s.file.Write(b)
	return err
}

// SetReadDeadline ends a Read at t.
func (s *Socket) SetReadDeadline(t time.Time) error { return s.file.SetReadDeadline(t) }

// Close closes the socket, which ends a Read.
func (s *Socket) Close() error {
	if s.group != nil {
		_ = s.group.Close() // it only kept the group
	}
	return s.file.Close()
}

// Conn is a UDP socket that is bound to one interface. It is safe for concurrent use.
type Conn struct{ *net.UDPConn }

// receiveBuffer is what the system keeps of packets that have not been read, in bytes: of some thousand machines. With what it gives by
// default it is less than two hundred.
const receiveBuffer = 4 << 20

// ListenUDP binds a UDP port on an interface, for broadcasts too. shared lets other programs use the same port: good for a client's.
func ListenUDP(iface string, port uint16, shared bool) (*Conn, error) {
	control := func(_, _ string, raw syscall.RawConn) (err error) {
		set := func(fd uintptr) {
			err = errors.Join(unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
			// Not allowed is no mistake: whoever asks asks again.
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
			if shared {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
			}
		}
		if e := raw.Control(set); e != nil {
			return e
		}
		return err
	}
	l := net.ListenConfig{Control: control}
	c, err := l.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", port)) // binds at once
	if err != nil {
		if errors.Is(err, unix.EADDRINUSE) {
			do := "stop that program, or let it answer the machines and leave boot.dhcp off here"
			if shared {
				do = "it is a DHCP client that shares the port with nobody: stop it, and give this machine a fixed address"
			}
			return nil, fmt.Errorf("UDP port %d is taken on this machine%s; %s: %w", port, holder(port), do, err)
		}
		return nil, privileges(fmt.Errorf("UDP port %d on %s: %w", port, iface, err))
	}
	u := c.(*net.UDPConn)
	raw, err := u.SyscallConn()
	if err == nil {
		// The port was free. From now on a DHCP server of another network may start on this machine, as libvirt's does, which
		// binds the port before it names its interface.
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("UDP port %d on %s: %w", port, iface, err)
	}
	return &Conn{u}, nil
}

// ReadFrom gives the next packet, who sent it, and whether it was sent to everybody.
func (c *Conn) ReadFrom(b []byte) (n int, from netip.AddrPort, broadcast bool, err error) {
	var oob [64]byte
	n, on, _, from, err := c.ReadMsgUDPAddrPort(b, oob[:])
	if err != nil {
		return 0, from, false, err
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	messages, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		return n, from, false, nil // without the address it counts as sent to us
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo {
			info := (*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			// Addr is the packet's own destination, Spec_dst the address of ours that would answer it.
			broadcast = info.Addr != info.Spec_dst
		}
	}
	return n, from, broadcast, nil
}

// holder names the program that holds a UDP port, as far as /proc shows it: " (by dnsmasq, process 4711)", or nothing.
func holder(port uint16) string {
	table, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		return ""
	}
	inodes := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			inodes["socket:["+f[9]+"]"] = true
		}
	}
	processes, _ := os.ReadDir("/proc") // what cannot be read is not named
	for _, p := range processes {
		descriptors, err := os.ReadDir("/proc/" + p.Name() + "/fd")
		if err != nil {
			continue
		}
		for _, d := range descriptors {
			to, err := os.Readlink("/proc/" + p.Name() + "/fd/" + d.Name())
			if err != nil || !inodes[to] {
				continue
			}
			name, _ := os.ReadFile("/proc/" + p.Name() + "/comm") // may have ended
			return fmt.Sprintf(" (by %s, process %s)", strings.TrimSpace(string(name)), p.Name())
		}
	}
	return ""
}
