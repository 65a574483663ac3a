package blockdev

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// tape is a connection whose other side has sent everything and hangs up.
type tape struct {
	net.Conn // never called
	in       *bytes.Reader
	mu       sync.Mutex // guards out
	out      bytes.Buffer
}

func (p *tape) Read(b []byte) (int, error) { return p.in.Read(b) }
func (p *tape) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}
func (p *tape) Close() error                     { return nil }
func (p *tape) SetReadDeadline(time.Time) error  { return nil }
func (p *tape) SetWriteDeadline(time.Time) error { return nil }

var hello = be.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes)

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// Whatever a client sends before it has chosen, the server answers in the protocol or hangs up.
func FuzzNegotiation(f *testing.F) {
	f.Add(hello)
	f.Add(join(hello, optionBytes(optGo, goData("disk", infoBlockSize))))
	f.Add(join(hello, optionBytes(optStructuredReply, nil), optionBytes(optSetMeta, metaData("", contextAllocation)), optionBytes(optGo, goData(""))))
	f.Add(join(hello, optionBytes(optList, nil), optionBytes(optListMeta, metaData("disk", "base:", "x")), optionBytes(optAbort, nil)))
	f.Add(join(hello, optionBytes(optExportName, []byte("disk"))))
	f.Add(join(hello, optionBytes(99, make([]byte, 100)), optionBytes(optInfo, goData("no"))))
	e := &export{name: "disk", size: 12345, flags: exportHasFlags, sizes: BlockSizes{1, 4096}, maximum: MaxRequest, mapped: true}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		agreed, err := negotiate(bufio.NewReader(bytes.NewReader(in)), &out, e)
		if err == nil && agreed.allocation && !agreed.structured {
			t.Error("block status without structured replies")
		}
		b := out.Bytes()
		if len(b) < 18 || be.Uint64(b) != magicInit {
			t.Fatalf("the server began with %x", b)
		}
		for b = b[18:]; len(b) >= 20 && be.Uint64(b) == magicOptionReply; {
			n := int(be.Uint32(b[16:]))
			if n > len(b)-20 {
				t.Fatalf("a reply of %d bytes says that it has %d", len(b)-20, n)
			}
			b = b[20+n:]
		}
		if len(b) != 0 && len(b) != 10 && len(b) != 10+exportNameZeroes {
			t.Errorf("%d bytes that are no reply", len(b))
		}
	})
}

// Whatever a client sends as commands, each one is answered once and nothing else is said.
func FuzzCommands(f *testing.F) {
	all := join(
		requestBytes(0, cmdRead, 1, 0, 100), requestBytes(cmdFlagFUA, cmdWrite, 2, 5, 3), []byte("abc"),
		requestBytes(0, cmdFlush, 3, 0, 0), requestBytes(0, cmdTrim, 4, 0, 9000), requestBytes(cmdFlagNoHole, cmdWriteZeroes, 5, 1, 1),
		requestBytes(cmdFlagReqOne, cmdBlockStatus, 6, 0, 9999), requestBytes(0, cmdCache, 7, 0, 1), requestBytes(0, 77, 8, 0, 0),
		requestBytes(0, cmdDisc, 9, 0, 0))
	f.Add(all, true)
	f.Add(all, false)
	f.Add(join(requestBytes(0, cmdWrite, 1, -1, MaxRequest+1), make([]byte, 100)), true)
	f.Add(requestBytes(0, cmdRead, 1, 1<<62, 1<<31), true)
	f.Fuzz(func(t *testing.T, in []byte, structured bool) {
		s, err := NewServer(NewMemory(10_000), Options{})
		if err != nil {
			t.Fatal(err)
		}
		sock := &tape{in: bytes.NewReader(in)}
		c := newConnection(s, sock)
		c.agreed = session{structured: structured, allocation: structured}
		_ = c.run()
		c.cancel()
		cl := &client{t: t, in: bufio.NewReader(&sock.out)}
		for {
			head, err := cl.in.Peek(16)
			if err == io.EOF && len(head) == 0 {
				return
			}
			if err != nil || be.Uint32(head) == magicSimple && be.Uint32(head[4:]) == 0 && !structured {
				return // a simple reply does not tell its length
			}
			cl.answer(0)
		}
	})
}
