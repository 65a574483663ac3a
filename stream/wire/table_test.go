package wire

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
)

// row is one line of the golden table: a value and how it becomes bytes and back.
type row struct {
	name  string
	value any
	bytes []byte
	parse func([]byte) (any, error)
	// least is the length from which a truncated row is a valid, shorter message; 0 means that every truncation is an error.
	least int
	// appended is how many bytes at the end older senders leave out: without them the row is the same but for a field that is zero.
	appended int
}

func run(first byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = first + byte(i)
	}
	return p
}

func frameRow(name string, f Frame) row {
	r := row{name: "frame " + name, value: f, bytes: f.Append(nil)}
	r.parse = func(b []byte) (any, error) {
		t, body, rest, err := Next(b)
		if err == nil && len(rest) > 0 {
			err = errors.New("bytes are left")
		}
		if err != nil {
			return nil, err
		}
		f, err := Parse(t, body)
		return f, err
	}
	return r
}

// fixed parses a datagram that has nothing behind its header.
func fixed[T any](parse func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		v, err := parse(b)
		return v, err
	}
}

// tail parses a datagram and checks what stands behind its header.
func tail[T any](want []byte, parse func([]byte) (T, []byte, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		v, got, err := parse(b)
		if err == nil && !bytes.HasPrefix(want, got) {
			err = fmt.Errorf("tail is %x", got)
		}
		return v, err
	}
}

func padded(b []byte, size int) []byte { return append(b, make([]byte, size-len(b))...) }

func datagramRows() []row {
	noise, sealed, ticket := run(0x40, 96), run(0x80, 20), run(0x20, 40)
	hello := Hello{Index: 0x01020304, MinVersion: 1, MaxVersion: 2, Cipher: CipherAES256GCM, FarmKey: [8]byte(run(0xf0, 8)), NoiseLength: 96}
	welcome := Welcome{Receiver: 0x01020304, Index: 0x0a0b0c0d, NoiseLength: 96}
	cookie := Cookie{Receiver: 0x01020304, Nonce: [24]byte(run(0x10, 24)), Sealed: [32]byte(run(0x60, 32))}
	head := Sealed{Receiver: 0x0a0b0c0d, Counter: 0x0102030405060708}
	first := SealedFirst{Receiver: 7, Counter: 3, Index: 9, Random: [16]byte(run(0xa0, 16)), Server: [16]byte(run(0xb0, 16))}
	resume := Resume{Index: 5, Cipher: CipherChaCha20Poly1305, Flags: 0x80}
	random := [32]byte(run(0xc0, 32))
	hint := Hint{Receiver: 11, Hint: HintUnknownSession, MinVersion: 1, MaxVersion: 1, Counter: 99}
	return []row{
		{"hello", hello, padded(append(hello.Append(nil), noise...), FirstSize), tail(noise, ParseHello), 0, 0},
		{"welcome", welcome, append(welcome.Append(nil), noise...), tail(noise, ParseWelcome), 0, 0},
		{"cookie", cookie, cookie.Append(nil), fixed(ParseCookie), 0, 0},
		{"sealed", head, append(head.Append(nil), sealed...), tail(sealed, ParseSealed), SealedSize + TagSize, 0},
		{"resume", resume, padded(append(AppendResumeHead(nil, resume, ticket, random, len(sealed)), sealed...), FirstSize),
			func(b []byte) (any, error) {
				r, body, err := ParseResume(b)
				if err == nil && !(bytes.Equal(body.Ticket, ticket) && body.Random == random && bytes.Equal(body.Sealed, sealed)) {
					err = fmt.Errorf("body is %+v", body)
				}
				return r, err
			}, 0, 0},
		{"sealed first", first, append(first.Append(nil), sealed...), tail(sealed, ParseSealedFirst), SealedFirstSize + TagSize, 0},
		{"hint", hint, hint.Append(nil), fixed(ParseHint), 0, 0},
	}
}

var (
	tableContent = Content{Root: [32]byte(run(0x30, 32)), Timestamp: 1789000000123456789}
	tableDisk    = Disk{
		Name: "debian12", Number: 3, Content: tableContent, Size: 8 << 30, SectorSize: 512, ChunkSize: 16384, Levels: 4, Mode: ModeStandard,
		Boot: [32]byte(run(0xd0, 32)),
	}
	tableTicket = Ticket{Ticket: run(0x50, 24), Secret: [32]byte(run(0x90, 32)), LifetimeMS: 3600000}
	v4          = netip.MustParseAddrPort("192.0.2.12:6910")
	v6          = netip.MustParseAddrPort("[2001:db8::7]:6910")
)

func loginRows() []row {
	login := Login{
		Features: 1 << 40, MAC: [6]byte{2, 0, 0, 1, 2, 3}, Flags: LoginReconnect, VDisk: "debian12", Number: NewestVersion,
		Label: "raum 7, Platz é", Program: "spate-target 0.1", HasContent: true, Content: tableContent, Avoid: []string{"lab-a", "lab-c"},
	}
	accept := LoginReply{
		Result: ResultAccept, Version: 1, Features: 5, ServerID: [16]byte(run(1, 16)), Server: "lab-b", Disk: tableDisk,
		HasTicket: true, Ticket: tableTicket,
	}
	refer := LoginReply{
		Result: ResultRefer, Version: 1, ServerID: [16]byte(run(1, 16)), Server: "lab-b", Disk: tableDisk,
		Refer:     []Referral{{"lab-a", [16]byte(run(2, 16)), v4}, {"lab-c", [16]byte(run(3, 16)), v6}},
		HasTicket: true, Ticket: tableTicket,
	}
	busy := LoginReply{Result: ResultBusy, Code: CodeTooMany, Version: 1, Server: "lab-b", RetryAfterMS: 250, Sentence: CodeTooMany.Sentence()}
	deny := LoginReply{Result: ResultDeny, Code: CodeUnknownDevice, Version: 1, Server: "lab-b", Sentence: CodeUnknownDevice.Sentence()}
	return []row{
		{"login", login, login.Append(nil), fixed(ParseLogin), 0, 0},
		{"login empty", Login{}, Login{}.Append(nil), fixed(ParseLogin), 0, 0},
		{"login reply accept", accept, accept.Append(nil), fixed(ParseLoginReply), 0, bootSize},
		{"login reply refer", refer, refer.Append(nil), fixed(ParseLoginReply), 0, bootSize},
		{"login reply busy", busy, busy.Append(nil), fixed(ParseLoginReply), 0, 0},
		{"login reply deny", deny, deny.Append(nil), fixed(ParseLoginReply), 0, 0},
	}
}

func frameRows() []row {
	ranges := Read{ID: 8, Level: 1, Priority: ReadAhead, Count: MaxCount, First: 1 << 40, N: 2}
	ranges.Ranges[0], ranges.Ranges[1] = Range{0, 1400}, Range{2800, 1 << 31}
	status := Status{
		Seq: 1, Bytes: 1 << 40, Reads: 77, Lost: 9, Late: 3, Busy: 1, RTT: 210, Window: 1 << 20, Packet: 1472, LongestPauseMS: 3,
		Failovers: 1, Flags: StatusGSO | StatusGRO,
		Boot: BootTimes{ModulesMS: 310, NetworkMS: 620, LogInMS: 650, AttachedMS: 700, RootMS: 760, InitMS: 800, UptimeMS: 5200},
	}
	statusRow := frameRow("status", status)
	statusRow.appended = bootTimesSize
	away := GoingAway{Number: 2, Reason: AwayStopped, DeadlineMS: 30000, SlotMS: 120, Proposed: "lab-a"}
	alternates := Alternates{
		List: []Alternate{
			{"lab-c", [16]byte(run(3, 16)), v6, StateServing, 200, true},
			{"lab-a", [16]byte{}, v4, StateStopped, 0, false},
			{"lab-d", [16]byte{}, netip.AddrPort{}, StateUnreachable, 0, false},
		},
		Note: "lab-c is in this zone",
	}
	return []row{
		frameRow("read", Read{ID: 7, Count: 4, First: 65}),
		frameRow("read ranges", ranges),
		statusRow,
		frameRow("leave", Leave{LeaveMoved, 2100}),
		frameRow("bad", Bad{Level: 2, Index: 5}),
		frameRow("size", Size{8972}),
		frameRow("going-away ack", GoingAwayAck{2}),
		frameRow("path answer", PathAnswer{0x1122334455667788}),
		frameRow("ping", Ping{0x55667788}),
		frameRow("data", Data{ID: 7, Position: 1400, Total: 4000, Held: 12, Payload: run(0x70, 10)}),
		frameRow("data empty", Data{ID: 7, Payload: []byte{}}),
		frameRow("pending", Pending{7}),
		frameRow("busy", Busy{ID: 7, RetryAfterMS: 20, Instead: "lab-a"}),
		frameRow("failed", Failed{ID: 7, Level: 1, Index: 3, Code: CodeDamaged}),
		frameRow("going-away", away),
		frameRow("going-away withdrawn", GoingAway{Number: 3, Reason: AwayWithdrawn}),
		frameRow("alternates", alternates),
		frameRow("alternates none", Alternates{}),
		frameRow("ticket", tableTicket),
		frameRow("status reply", StatusReply{1}),
		frameRow("probe", Probe{1472}),
		frameRow("path check", PathCheck{0x1122334455667788}),
		frameRow("pong", Pong{0x55667788}),
		frameRow("closed", Closed{CodeReplaced, CodeReplaced.Sentence()}),
	}
}

func table() []row {
	return append(append(datagramRows(), loginRows()...), frameRows()...)
}
