package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	opRead, opWrite, opData, opAck, opError, opOptions = 1, 2, 3, 4, 5, 6
	// patience is how long a test waits for a datagram that has to come.
	patience = 20 * time.Second
)

type lab struct {
	*Server
	t    *testing.T
	farm *filestest.Directory
	// stop ends the server and waits for it; then its counters stand.
	stop func()
}

func start(t *testing.T) lab { return startWith(t, MaxTransfers) }

// startWith starts a service that has so many places for transfers.
func startWith(t *testing.T, places int) lab {
	t.Helper()
	farm := filestest.New()
	s, err := New(Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), Interface: "lo", Tree: files.New(farm, filestest.Loaders(t)),
		MACOf: func(a netip.Addr) (bootsvc.MAC, bool) { return filestest.MAC, a == netip.MustParseAddr("127.0.0.1") },
	})
	if err != nil {
		if os.Geteuid() != 0 {
			t.Skipf("binding to an interface needs root: %v", err)
		}
		t.Fatal(err)
	}
	s.places = make(chan struct{}, places)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return lab{Server: s, t: t, farm: farm, stop: stop}
}

// machine is a client that is written by hand, datagram by datagram.
type machine struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort // the server, then the port of the transfer
}

func (l lab) machine(from string) *machine {
	l.t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return &machine{t: l.t, conn: conn, to: l.Addr()}
}

func (m *machine) send(b []byte) {
	m.t.Helper()
	if _, err := m.conn.WriteToUDPAddrPort(b, m.to); err != nil {
		m.t.Fatal(err)
	}
}

// receive gives the next datagram; what comes from there belongs to the transfer.
func (m *machine) receive() (op uint16, body []byte) {
	m.t.Helper()
	b := make([]byte, 65536)
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	n, from, err := m.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		m.t.Fatal(err)
	}
	m.to = from
	return binary.BigEndian.Uint16(b), b[2:n]
}

func request(op uint16, name string, options ...string) []byte {
	b := binary.BigEndian.AppendUint16(nil, op)
	for _, s := range append([]string{name, "octet"}, options...) {
		b = append(append(b, s...), 0)
	}
	return b
}

func (m *machine) ack(block uint16) {
	m.t.Helper()
	m.send(binary.BigEndian.AppendUint16([]byte{0, opAck}, block))
}

func (m *machine) abort(code uint16, text string) {
	m.t.Helper()
	m.send(append(append(binary.BigEndian.AppendUint16([]byte{0, opError}, code), text...), 0))
}

// options sends a request and takes the options that the server agrees to; nil when it sends data at once. An error is fatal.
func (m *machine) options(req []byte) map[string]string {
	m.t.Helper()
	m.send(req)
	op, body := m.receive()
	if op != opOptions {
		m.t.Fatalf("answered by %d %q", op, body)
	}
	words := strings.Split(strings.TrimSuffix(string(body), "\x00"), "\x00")
	agreed := map[string]string{}
	for i := 0; i+1 < len(words); i += 2 {
		agreed[words[i]] = words[i+1]
	}
	return agreed
}

// rest takes the blocks after the options, acknowledging each so often, and gives the file and how many datagrams it was.
func (m *machine) rest(size, often int) (file []byte, datagrams int) {
	m.t.Helper()
	for range often {
		m.ack(0)
	}
	for next := uint16(1); ; {
		op, body := m.receive()
		if op != opData {
			m.t.Fatalf("answered by %d %q", op, body)
		}
		datagrams++
		block, data := binary.BigEndian.Uint16(body), body[2:]
		for range often {
			m.ack(block)
		}
		if block != next {
			continue
		}
		next++
		if file = append(file, data...); len(data) < size {
			return file, datagrams
		}
	}
}

type captured struct {
	who, name string
	datagram  []byte
}

func captures(t testing.TB) (all []captured) {
	t.Helper()
	text, err := os.ReadFile("../../testdata/boot/tftp/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		b, err := hex.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, captured{f[0], f[1], b})
	}
	return all
}

// Each request that real firmware sends is answered with the file, or at once with an error that has a sentence.
func TestRealFirmwareGetsWhatItAsksFor(t *testing.T) {
	l := start(t)
	there := map[string][]byte{
		"ipxe/snponly.efi": filestest.Loader, "shimx64.efi": filestest.Loader, "/boot/debian12@3/kernel": filestest.Kernel, "/boot/debian12@3/image": filestest.Image,
		"/grub/grub.cfg": nil, "/grub/52:54:00:78:00:01.cfg": nil, "boot.ipxe": nil, // rendered
	}
	for _, c := range captures(t) {
		if c.name == "abort" {
			continue
		}
		m := l.machine("127.0.0.1")
		want, ok := there[c.name]
		if !ok {
			m.send(c.datagram)
			if op, body := m.receive(); op != opError || len(body) < 10 {
				t.Errorf("%s %s: answered by %d %q", c.who, c.name, op, body)
			}
			continue
		}
		agreed := m.options(c.datagram)
		asked := strings.Split(string(c.datagram), "\x00")
		size, _ := strconv.Atoi(agreed["blksize"])
		for i, word := range asked {
			switch word {
			case "blksize":
				if agreed[word] != asked[i+1] {
					t.Errorf("%s %s: blksize %s", c.who, c.name, agreed[word])
				}
			case "tsize":
				if want != nil && agreed[word] != strconv.Itoa(len(want)) {
					t.Errorf("%s %s: tsize %s", c.who, c.name, agreed[word])
				}
			}
		}
		if agreed["windowsize"] != "" {
			t.Errorf("%s %s: a window is promised", c.who, c.name)
		}
		if got, _ := m.rest(size, 1); want != nil && !bytes.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s %s: got %d bytes that are not the file", c.who, c.name, len(got))
		}
	}
}

// Who loads by TFTP gets the whole boot image, whatever it says of its card: only HTTP gives the first part.
func TestABootImageIsWholeByTFTP(t *testing.T) {
	m := start(t).machine("127.0.0.1")
	const name = "boot/debian12@3/image?card=01-1a-f4-10-00"
	if agreed := m.options(request(opRead, name, "blksize", "1024", "tsize", "0")); agreed["tsize"] != strconv.Itoa(len(filestest.Image)) {
		t.Errorf("%v", agreed)
	}
	if got, _ := m.rest(1024, 1); !bytes.Equal(got, filestest.Image) {
		t.Errorf("%d bytes", len(got))
	}
}

// OVMF asks for the size, leaves with error 8, and asks again: that is no failure, and nobody is told of one.
func TestAProbeForTheSizeIsNoFailure(t *testing.T) {
	l := start(t)
	probe, abort, load := []byte(nil), []byte(nil), []byte(nil)
	for _, c := range captures(t) {
		switch tsize := bytes.Contains(c.datagram, []byte("tsize")); {
		case c.who == "OVMF" && c.name == "abort":
			abort = c.datagram
		case c.who == "OVMF" && tsize:
			probe = c.datagram
		case c.who == "OVMF":
			load = c.datagram
		}
	}
	m := l.machine("127.0.0.1")
	m.options(probe)
	m.send(abort)
	m = l.machine("127.0.0.1")
	m.options(load)
	if got, _ := m.rest(1468, 1); !bytes.Equal(got, filestest.Loader) {
		t.Errorf("got %d bytes", len(got))
	}
	e := l.farm.Event()
	l.stop()
	if all := l.farm.Events(); len(all) != 1 || e.Problem || e.MAC != filestest.MAC || !strings.Contains(e.Text, "shimx64.efi: 74213 bytes") {
		t.Errorf("events %+v", all)
	}
	if s := l.Stats(); s.Probes != 1 || s.Sent != 1 || s.Failed != 0 || s.Running != 0 {
		t.Errorf("%+v", s)
	}
}

// A machine that breaks off, and why, is told to the farm.
func TestATransferThatBreaksOffIsAProblem(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.2")
	m.options(request(opRead, "/boot/debian12@3/kernel?mac=52-54-00-77-00-01", "blksize", "1024", "tsize", "0"))
	m.ack(0)
	m.receive()
	m.ack(1)
	m.receive()
	m.abort(3, "disk full")
	e := l.farm.Event()
	if !e.Problem || e.MAC != filestest.MAC || !strings.Contains(e.Text, "kernel of debian12@3") || !strings.Contains(e.Text, "disk full") {
		t.Errorf("%+v", e)
	}
	l.stop()
	if n := l.farm.Opened(); n != 0 || l.Stats().Failed != 1 {
		t.Errorf("%d files are open; %+v", n, l.Stats())
	}
}

// A block that is lost comes again.
func TestALostBlockIsSentAgain(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.1")
	m.send(request(opRead, "boot/debian12@3/image"))
	_, first := m.receive()
	_, second := m.receive() // nobody has acknowledged
	if !bytes.Equal(first, second) || !bytes.Equal(first[2:], filestest.Image[:512]) {
		t.Errorf("%d bytes, then %d others", len(first), len(second))
	}
	m.ack(1)
	if op, body := m.receive(); op != opData || binary.BigEndian.Uint16(body) != 2 {
		t.Errorf("then %d %.8q", op, body)
	}
	m.abort(8, "enough")
}

// Acknowledgements that are sent twice do not double the blocks (the Sorcerer's Apprentice).
func TestADoubledAcknowledgementDoesNotDoubleTheBlocks(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.1")
	m.options(request(opRead, "boot/debian12@3/image", "tsize", "0"))
	got, datagrams := m.rest(512, 2)
	if !bytes.Equal(got, filestest.Image) {
		t.Errorf("got %d bytes", len(got))
	}
	if blocks := len(filestest.Image)/512 + 1; datagrams > blocks+blocks/2 { // some for a machine that is slow
		t.Errorf("%d datagrams for %d blocks", datagrams, blocks)
	}
}

// A request that is sent twice, because the answer took long, starts two transfers; the client takes one and tells the other.
func TestARepeatedRequestDoesNotSpoilTheTransfer(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.1")
	req := request(opRead, "boot/debian12@3/image", "tsize", "0")
	server := m.to
	m.send(req)
	m.send(req)
	m.receive()
	mine := m.to
	for m.to == mine { // the first repeats itself if this takes long
		m.receive()
	}
	if m.to == server {
		t.Fatal("answered by the port of requests")
	}
	m.abort(5, "unknown transfer")
	m.to = mine
	m.ack(0)
	for block := uint16(1); block <= 11; {
		op, body := m.receive()
		if m.to == mine && op == opData && binary.BigEndian.Uint16(body) == block {
			m.ack(block)
			block++
		}
		m.to = mine
	}
	l.farm.Event()
	l.stop()
	if s := l.Stats(); s.Sent != 1 || s.Probes != 1 {
		t.Errorf("%+v", s)
	}
}

func TestWritingIsRefused(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.1")
	m.send(request(opWrite, "boot.ipxe"))
	if op, body := m.receive(); op != opError || !strings.Contains(string(body), "reading only") {
		t.Errorf("answered by %d %q", op, body)
	}
}

// Whoever has too many transfers is told so; others, and those who have ended some, are served.
func TestBeyondTheBoundAClientIsToldSo(t *testing.T) {
	l := start(t)
	req := request(opRead, "boot/debian12@3/image", "tsize", "0")
	var busy []*machine
	for range MaxPerAddress {
		m := l.machine("127.0.0.2")
		m.options(req)
		busy = append(busy, m)
	}
	m := l.machine("127.0.0.2")
	m.send(req)
	if op, body := m.receive(); op != opError || !strings.Contains(string(body), "try again") {
		t.Errorf("answered by %d %q", op, body)
	}
	if got, _ := func() ([]byte, int) { m := l.machine("127.0.0.3"); m.options(req); return m.rest(512, 1) }(); !bytes.Equal(got, filestest.Image) {
		t.Errorf("another one got %d bytes", len(got))
	}
	for _, m := range busy {
		m.abort(8, "enough")
	}
	l.stop()
	if s := l.Stats(); s.Busy != 1 || s.Probes != MaxPerAddress || s.Running != 0 {
		t.Errorf("%+v", s)
	}
}

// Garbage, and real requests that were cut or changed, do not keep the next machine from booting.
func TestGarbageDoesNotStopTheService(t *testing.T) {
	l := start(t)
	random := rand.New(rand.NewPCG(1, 2))
	noise := l.machine("127.0.0.2")
	all := captures(t)
	for i := range 3000 {
		b := make([]byte, random.IntN(600))
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		switch c := all[i%len(all)].datagram; i % 3 {
		case 1:
			b = c[:random.IntN(len(c)+1)]
		case 2:
			b = bytes.Clone(c)
			b[random.IntN(len(b))] = byte(random.Uint32())
		}
		noise.send(b)
	}
	m := l.machine("127.0.0.1")
	req := request(opRead, "ipxe/undionly.kpxe", "blksize", "1432", "tsize", "0")
	// The burst may have filled the socket: a machine asks again, as firmware does.
	ctx, cancel := context.WithCancel(t.Context())
	again := make(chan struct{})
	go func() {
		defer close(again)
		for {
			if _, err := m.conn.WriteToUDPAddrPort(req, l.Addr()); err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}()
	op, body := m.receive()
	cancel()
	<-again
	if op != opOptions || !strings.Contains(string(body), "1432") {
		t.Fatalf("answered by %d %q", op, body)
	}
	if got, _ := m.rest(1432, 1); !bytes.Equal(got, filestest.Loader) {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestFilesAreServedOverIPv6(t *testing.T) {
	s, err := New(Config{Listen: netip.MustParseAddrPort("[::1]:0"), Tree: files.New(filestest.New(), filestest.Loaders(t))})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	conn, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::1]:0")))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{t: t, conn: conn, to: s.Addr()}
	m.options(request(opRead, "ipxe/snponly.efi", "blksize", "1408", "tsize", "0"))
	if got, _ := m.rest(1408, 1); !bytes.Equal(got, filestest.Loader) {
		t.Errorf("got %d bytes", len(got))
	}
	cancel()
	if err := errors.Join(<-ended, conn.Close()); err != nil {
		t.Error(err)
	}
}

func TestAnAddressThatIsTakenIsSaid(t *testing.T) {
	l := start(t)
	if _, err := New(Config{Listen: l.Addr()}); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("%v", err)
	}
	if _, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Interface: "nosuch0"}); err == nil || !strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("%v", err)
	}
	if errors.Is(sentence(files.ErrName), os.ErrNotExist) {
		t.Error("a name from the network is not a file")
	}
}
