package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>9) ^ byte(i*7)
	}
	return b
}

// Each option is answered as the protocol says, in any order, and a refused one costs nothing.
func TestTheNegotiationAnswersEachOption(t *testing.T) {
	path, _, _ := serve(t, NewMemory(12345), Options{Name: "disk"})
	long := make([]byte, maxOptionData+1)
	for _, c := range []struct {
		name string
		kind uint32
		data []byte
		want []uint32
	}{
		{"list", optList, nil, []uint32{repServer, repAck}},
		{"list with data", optList, []byte("x"), []uint32{repErrInvalid}},
		{"info", optInfo, goData("disk"), []uint32{repInfo, repInfo, repAck}},
		{"info with name", optInfo, goData("", infoName, infoBlockSize, 99), []uint32{repInfo, repInfo, repInfo, repAck}},
		{"info of another", optInfo, goData("other"), []uint32{repErrUnknown}},
		{"info that does not parse", optInfo, []byte{0, 0, 0, 9, 'x'}, []uint32{repErrInvalid}},
		{"contexts before structured replies", optSetMeta, metaData("", contextAllocation), []uint32{repErrInvalid}},
		{"list contexts", optListMeta, metaData(""), []uint32{repMeta, repAck}},
		{"list base", optListMeta, metaData("disk", "base:"), []uint32{repMeta, repAck}},
		{"list others", optListMeta, metaData("", "qemu:"), []uint32{repAck}},
		{"contexts of another", optListMeta, metaData("other"), []uint32{repErrUnknown}},
		{"TLS", 5, nil, []uint32{repErrUnsup}},
		{"extended headers", 11, nil, []uint32{repErrUnsup}},
		{"too long", 77, long, []uint32{repErrTooBig}},
		{"structured", optStructuredReply, nil, []uint32{repAck}},
		{"structured with data", optStructuredReply, []byte("x"), []uint32{repErrInvalid}},
		{"choose no context", optSetMeta, metaData(""), []uint32{repAck}},
		{"choose unknown context", optSetMeta, metaData("", "x:y"), []uint32{repAck}},
		{"choose context", optSetMeta, metaData("", contextAllocation), []uint32{repMeta, repAck}},
		{"contexts that do not parse", optSetMeta, metaData("", "a")[:9], []uint32{repErrInvalid}},
		{"abort", optAbort, nil, []uint32{repAck}},
	} {
		client := dial(t, path)
		for range 2 { // a refused option leaves the stream in step
			if c.kind == optSetMeta && c.want[0] != repErrInvalid {
				client.option(optStructuredReply, nil)
			}
			var got []uint32
			for _, r := range client.option(c.kind, c.data) {
				got = append(got, r.kind)
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s: answered with %x, want %x", c.name, got, c.want)
			}
			if c.kind == optAbort {
				break
			}
		}
		client.sock.Close()
	}
}

// The old way into an export, with the padding that old clients want.
func TestExportNameOpensTheDisk(t *testing.T) {
	path, _, _ := serve(t, NewMemoryOf(pattern(10_000), true), Options{Name: "disk"})
	for _, name := range []string{"disk", ""} {
		c := dial(t, path)
		c.write(optionBytes(optExportName, []byte(name)))
		h := c.read(10)
		if be.Uint64(h) != 10_000 || be.Uint16(h[8:])&exportReadOnly == 0 {
			t.Errorf("export %q: %x", name, h)
		}
		if !bytes.Equal(c.readAt(100, 5000), pattern(10_000)[100:5100]) {
			t.Error("wrong bytes")
		}
	}
	c := dial(t, path)
	c.write(optionBytes(optExportName, []byte("other")))
	if _, err := c.in.ReadByte(); err == nil {
		t.Error("another export was opened")
	}
}

// What is written, zeroed and trimmed through one connection is read through another, in both kinds of reply.
func TestCommandsReachTheDevice(t *testing.T) {
	for _, structured := range []bool{false, true} {
		for _, slow := range []bool{false, true} {
			m := NewMemoryOf(pattern(1<<20), false)
			m.Slow = slow
			path, s, _ := serve(t, m, Options{})
			a, b := attach(t, path, structured), attach(t, path, structured)
			model := pattern(1 << 20)
			data := bytes.Repeat([]byte("w"), 70_000)
			a.ask(cmdFlagFUA, cmdWrite, 7, 1000, int64(len(data)), data...)
			copy(model[1000:], data)
			if r := a.answer(0); r.errno != 0 || r.cookie != 7 {
				t.Fatalf("write: %+v", r)
			}
			for cookie, kind := range []uint16{cmdWriteZeroes, cmdTrim} {
				off := int64(5000 + 10_000*cookie)
				a.ask(0, kind, uint64(cookie), off, 3000)
				clear(model[off : off+3000])
				if r := a.answer(0); r.errno != 0 || r.cookie != uint64(cookie) {
					t.Fatalf("command %d: %+v", kind, r)
				}
			}
			for _, kind := range []uint16{cmdFlush, cmdCache} {
				a.ask(0, kind, 9, 0, 0)
				if r := a.answer(0); r.errno != 0 {
					t.Fatalf("command %d: %+v", kind, r)
				}
			}
			for _, r := range [][2]int64{{0, 1 << 20}, {999, 2}, {4999, 3002}, {1<<20 - 1, 1}, {5, 0}} {
				if got := b.readAt(r[0], r[1]); !bytes.Equal(got, model[r[0]:r[0]+r[1]]) {
					t.Errorf("structured %v, slow %v: wrong bytes at %d", structured, slow, r[0])
				}
			}
			if st := s.Stats(); st.Failures != 0 || st.WriteBytes != 70_000 || st.ZeroBytes != 6000 || st.Connections != 2 {
				t.Errorf("%+v", st)
			}
			b.ask(0, cmdDisc, 0, 0, 0)
			if _, err := b.in.ReadByte(); err == nil {
				t.Error("the server keeps a connection that said goodbye")
			}
		}
	}
}

// Block status tells zeros from data, merges runs, and obeys REQ_ONE.
func TestBlockStatusShowsWhereTheDiskIsZero(t *testing.T) {
	m := NewMemory(10 * 4096)
	for _, block := range []int{2, 3, 7} {
		m.data[block*4096+4000] = 1
	}
	path, _, _ := serve(t, m, Options{})
	c := attach(t, path, true)
	for _, q := range []struct {
		flags       uint16
		off, length int64
		want        string
	}{
		{0, 0, 10 * 4096, "[8192 zero] [8192 data] [12288 zero] [4096 data] [8192 zero]"},
		{cmdFlagReqOne, 0, 10 * 4096, "[8192 zero]"},
		{cmdFlagReqOne, 0, 100, "[100 zero]"},
		{0, 3*4096 + 5, 5000, "[4091 data] [909 zero]"},
	} {
		c.ask(q.flags, cmdBlockStatus, 3, q.off, q.length)
		r := c.answer(0)
		if r.errno != 0 || r.kind != chunkBlockStatus || be.Uint32(r.data) != allocationID {
			t.Fatalf("%+v", r)
		}
		got := ""
		for d := r.data[4:]; len(d) > 0; d = d[8:] {
			kind := map[uint32]string{0: "data", allocationHoleZero: "zero"}[be.Uint32(d[4:])]
			got += fmt.Sprintf(" [%d %s]", be.Uint32(d), kind)
		}
		if got != " "+q.want {
			t.Errorf("%d bytes at %d: %s, want %s", q.length, q.off, got, q.want)
		}
	}
}

// Requests that are wrong are refused with the right number, and the next one works.
func TestBadRequestsAreRefusedAndHarmNothing(t *testing.T) {
	const size = 1 << 20
	for _, structured := range []bool{false, true} {
		path, _, _ := serve(t, NewMemory(size), Options{})
		fixed, _, _ := serve(t, NewMemoryOf(make([]byte, size), true), Options{})
		for name, c := range map[string]struct {
			path        string
			flags, kind uint16
			off, length int64
			payload     int
			want        uint32
		}{
			"read past the end":       {path, 0, cmdRead, size - 1, 2, 0, nbdEINVAL},
			"read far past the end":   {path, 0, cmdRead, -1, 2, 0, nbdEINVAL},
			"read too much":           {path, 0, cmdRead, 0, MaxRequest + 1, 0, nbdEINVAL},
			"write past the end":      {path, 0, cmdWrite, size - 1, 2, 2, nbdENOSPC},
			"write too much":          {path, 0, cmdWrite, 0, MaxRequest + 1, MaxRequest + 1, nbdEINVAL},
			"zero past the end":       {path, 0, cmdWriteZeroes, 1, size, 0, nbdENOSPC},
			"trim past the end":       {path, 0, cmdTrim, 1, size, 0, nbdEINVAL},
			"unknown command":         {path, 0, 99, 0, 1, 0, nbdEINVAL},
			"unknown flag":            {path, 1 << 9, cmdRead, 0, 1, 0, nbdEINVAL},
			"fast zero":               {path, 1 << 4, cmdWriteZeroes, 0, 1, 0, nbdEINVAL},
			"flag of another":         {path, cmdFlagReqOne, cmdRead, 0, 1, 0, nbdEINVAL},
			"status of nothing":       {path, 0, cmdBlockStatus, 0, 0, 0, nbdEINVAL},
			"write when read-only":    {fixed, 0, cmdWrite, 0, 3, 3, nbdEPERM},
			"trim when read-only":     {fixed, 0, cmdTrim, 0, 3, 0, nbdEPERM},
			"zero when read-only":     {fixed, 0, cmdWriteZeroes, 0, 3, 0, nbdEPERM},
			"write when it is past":   {fixed, 0, cmdWrite, size, 3, 3, nbdEPERM},
			"cache past the end":      {path, 0, cmdCache, size, 1, 0, nbdEINVAL},
			"write of nothing beyond": {path, 0, cmdWrite, size + 1, 0, 0, nbdENOSPC},
		} {
			cl := attach(t, c.path, structured)
			cl.ask(c.flags, c.kind, 5, c.off, c.length, make([]byte, c.payload)...)
			if r := cl.answer(0); r.errno != c.want || r.cookie != 5 {
				t.Errorf("structured %v, %s: error %d, want %d", structured, name, r.errno, c.want)
			}
			cl.readAt(0, 10)
			cl.sock.Close()
		}
	}
}

// What a device says reaches the client as the number that stands for it.
func TestDeviceErrorsAreTold(t *testing.T) {
	var now error
	m := NewMemory(4096)
	m.Before = func(context.Context, string, int64, int64) error { return now }
	path, s, _ := serve(t, m, Options{})
	c := attach(t, path, true)
	for err, want := range map[error]uint32{
		errors.New("no good copy of chunk 7 of debian12 version 3"): nbdEIO,
		fmt.Errorf("x: %w", ErrNoSpace):                             nbdENOSPC,
		fmt.Errorf("x: %w", ErrReadOnly):                            nbdEPERM,
		fmt.Errorf("x: %w", ErrRange):                               nbdEINVAL,
		fmt.Errorf("x: %w", ErrUnsupported):                         nbdENOTSUP,
		fmt.Errorf("x: %w", ErrClosed):                              nbdESHUTDOWN,
		fmt.Errorf("x: %w", syscall.ENOMEM):                         nbdENOMEM,
		fmt.Errorf("x: %w", syscall.EROFS):                          nbdEPERM,
		fmt.Errorf("x: %w", syscall.ENOSPC):                         nbdENOSPC,
		syscall.EINVAL:                                              nbdEINVAL,
		syscall.EIO:                                                 nbdEIO,
	} {
		now = err
		c.ask(0, cmdRead, 1, 0, 10)
		if r := c.answer(0); r.errno != want || string(r.data) != err.Error() {
			t.Errorf("%v: told as %d %q, want %d", err, r.errno, r.data, want)
		}
	}
	if s.Stats().Failures != 10 { // a closed device is not a failure
		t.Errorf("%+v", s.Stats())
	}
}

// Four connections at once, pipelined requests of all kinds: every read returns what was last written.
func TestConnectionsAtOnceReadWhatTheyWrote(t *testing.T) {
	const connections, region, rounds = 4, 1 << 18, 300
	for _, slow := range []bool{false, true} {
		m := NewMemory(connections * region)
		m.Slow = slow
		path, _, _ := serve(t, m, Options{})
		var wg sync.WaitGroup
		for i := range connections {
			c := attach(t, path, i%2 == 0)
			wg.Add(1)
			go func() { // ends after its rounds
				defer wg.Done()
				mix(c, rand.New(rand.NewPCG(uint64(i), 5)), int64(i*region), region, rounds)
			}()
		}
		wg.Wait()
	}
}

// mix sends batches of requests to parts that do not overlap, collects the answers in any order, and checks reads
// against a model.
func mix(c *client, random *rand.Rand, base, size int64, rounds int) {
	model := make([]byte, size)
	for range rounds {
		const batch = 8
		part := size / batch
		var out []byte
		want := map[uint64][]byte{}
		for k := range uint64(batch) {
			off := int64(k)*part + random.Int64N(part)
			n := random.Int64N(min(9000, int64(k+1)*part-off)) + 1
			switch random.IntN(4) {
			case 0:
				data := bytes.Repeat([]byte{byte(random.Uint32())}, int(n))
				copy(model[off:], data)
				out = append(append(out, requestBytes(0, cmdWrite, k, base+off, n)...), data...)
				want[k] = nil
			case 1:
				clear(model[off : off+n])
				out = append(out, requestBytes(0, cmdWriteZeroes, k, base+off, n)...)
				want[k] = nil
			default:
				out = append(out, requestBytes(0, cmdRead, k, base+off, n)...)
				want[k] = bytes.Clone(model[off : off+n])
			}
		}
		c.write(out)
		for range batch {
			// A simple reply does not tell its length; the cookie does.
			h, err := c.in.Peek(16)
			if err != nil {
				c.t.Error(err)
				return
			}
			n := 0
			if be.Uint32(h) == magicSimple {
				n = len(want[be.Uint64(h[8:])])
			}
			r := c.answer(n)
			if r.errno != 0 || !bytes.Equal(r.data, want[r.cookie]) {
				c.t.Errorf("request %d: error %d, %d bytes, or wrong ones", r.cookie, r.errno, len(r.data))
				return
			}
		}
	}
}
