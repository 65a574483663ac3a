package tftp

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// load is a machine that asks again while nothing comes, as firmware does, and gives up when it is told an error.
func load(from netip.Addr, server netip.AddrPort, name string) (file []byte, asked int, err error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)))
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = conn.Close() }()
	out, to := request(opRead, name, "blksize", "1432", "tsize", "0"), server
	b := make([]byte, 2048)
	for next := uint16(0); ; {
		if _, err := conn.WriteToUDPAddrPort(out, to); err != nil {
			return nil, asked, err
		}
		if next == 0 {
			asked++
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, asked, err
		}
		n, peer, err := conn.ReadFromUDPAddrPort(b)
		switch {
		case err != nil && asked < 20:
			continue
		case err != nil:
			return nil, asked, err
		case next > 0 && peer != to:
			continue // of a request that was sent twice
		}
		op, block := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
		switch {
		case op == opError:
			return nil, asked, net.UnknownNetworkError(b[4:n])
		case op == opOptions && next == 0:
			next, to, out = 1, peer, []byte{0, opAck, 0, 0}
		case op == opData && block == next:
			file = append(file, b[4:n]...)
			out = binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
			if next++; n < 4+1432 {
				_, err := conn.WriteToUDPAddrPort(out, to)
				return file, asked, err
			}
		}
	}
}

// crowd lets machines load a file at once, each of which must have it.
func crowd(t *testing.T, l lab, machines int) {
	t.Helper()
	var all sync.WaitGroup
	for i := range machines {
		all.Go(func() {
			file, asked, err := load(netip.AddrFrom4([4]byte{127, 0, byte(1 + i>>8), byte(i)}), l.Addr(), "script/52-54-00-77-00-01")
			if err != nil || !bytes.HasPrefix(file, []byte("#!ipxe")) {
				t.Errorf("machine %d asked %d times: %d bytes, %v", i, asked, len(file), err)
			}
		})
	}
	all.Wait()
	if s := l.Stats(); s.Busy != 0 {
		t.Errorf("%+v", s)
	}
}

// A thousand machines that are switched on in the same second all get their loader; nobody is refused.
func TestAThousandMachinesAtOnceAllArrive(t *testing.T) { crowd(t, start(t), 1000) }

// Firmware that is told an error gives up: machines beyond the bound wait for their turn in place of that.
func TestMachinesBeyondTheBoundWaitForTheirTurn(t *testing.T) { crowd(t, startWith(t, 4), 300) }

// Who waited in vain, because the places are taken for long, is told so.
func TestAMachineThatWaitedInVainIsToldSo(t *testing.T) {
	l := startWith(t, 1)
	req := request(opRead, "boot/debian12@3/image", "tsize", "0")
	holder, late := l.machine("127.0.0.2"), l.machine("127.0.0.3")
	holder.options(req) // it acknowledges nothing, and keeps its place for 8 s
	late.send(req)
	if op, body := late.receive(); op != opError || !bytes.Contains(body, []byte("too many transfers; try again")) {
		t.Errorf("answered by %d %q", op, body)
	}
	holder.abort(8, "enough")
	l.stop()
	if s := l.Stats(); s.Busy != 1 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
}

// A machine that is refused a thousand times a second is one line of the log in each.
func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	s := &Server{}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	lines := 0
	for i := range 3000 {
		if s.tell(begin.Add(time.Duration(i) * time.Millisecond)) {
			lines++
		}
	}
	if lines != 3 {
		t.Errorf("%d lines in three seconds", lines)
	}
}
