package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden table")

const goldenFile = "../../testdata/wire/messages.txt"

// longPadding is how many zeros at the end of a row are counted instead of written.
const longPadding = 64

// golden renders the table: three lines a row, name, value and bytes without trailing zeros.
func golden(rows []row) string {
	var b strings.Builder
	b.WriteString("# Every message of the stream protocol, value beside bytes; much padding is counted as +N.\n")
	for _, r := range rows {
		short := bytes.TrimRight(r.bytes, "\x00")
		if len(r.bytes)-len(short) < longPadding {
			short = r.bytes
		}
		fmt.Fprintf(&b, "\n%s\n\t%+v\n\t%s", r.name, r.value, hex.EncodeToString(short))
		if n := len(r.bytes) - len(short); n > 0 {
			fmt.Fprintf(&b, " +%d", n)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// The golden table is the specification: bytes change only on purpose.
func TestGoldenTableIsWhatIsWritten(t *testing.T) {
	got := golden(table())
	if *update {
		if err := os.WriteFile(goldenFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	wantLines := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(wantLines) || line != wantLines[i] {
			t.Fatalf("line %d of %s differs:\n got %s\nRun with -update if this is meant, and review the diff.", i+1, goldenFile, line)
		}
	}
	if got != string(want) {
		t.Fatalf("%s is longer than the table", goldenFile)
	}
}

// goldenBytes reads the bytes back from the file, so that reading is tested against it and not against what is written today.
func goldenBytes(t testing.TB) map[string][]byte {
	file, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string][]byte)
	for block := range strings.SplitSeq(string(file), "\n\n") {
		lines := strings.Split(block, "\n")
		if len(lines) < 3 || strings.HasPrefix(lines[0], "#") {
			continue
		}
		text, zeros, _ := strings.Cut(strings.TrimSpace(lines[2]), " +")
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatalf("%s: %v", lines[0], err)
		}
		n := 0
		if zeros != "" {
			if _, err := fmt.Sscan(zeros, &n); err != nil {
				t.Fatalf("%s: %v", lines[0], err)
			}
		}
		rows[lines[0]] = append(b, make([]byte, n)...)
	}
	return rows
}

func TestGoldenTableIsWhatIsRead(t *testing.T) {
	file := goldenBytes(t)
	for _, r := range table() {
		b, ok := file[r.name]
		if !ok {
			t.Fatalf("%s: not in %s", r.name, goldenFile)
		}
		got, err := r.parse(b)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		if !reflect.DeepEqual(got, r.value) {
			t.Errorf("%s:\n got %+v\nwant %+v", r.name, got, r.value)
		}
	}
}

func TestEveryFrameTypeIsInTheGoldenTable(t *testing.T) {
	seen := make(map[FrameType]bool)
	for _, r := range frameRows() {
		seen[r.value.(Frame).Type()] = true
	}
	for i := range 256 {
		f := FrameType(i)
		if f.Known() != (seen[f] || f == FramePad) {
			t.Errorf("%v: known %v, in the table %v", f, f.Known(), seen[f])
		}
		if _, named := frameNames[f]; named != f.Known() {
			t.Errorf("%v: known %v, named %v", f, f.Known(), named)
		}
	}
}

// A message that was cut anywhere is refused, or is a shorter message where the table says so; never more.
func TestTruncationIsNoticed(t *testing.T) {
	for _, r := range table() {
		for n := range len(r.bytes) {
			v, err := r.parse(r.bytes[:n:n])
			valid := r.least > 0 && n >= r.least || r.appended > 0 && n == len(r.bytes)-r.appended && !strings.HasPrefix(r.name, "frame")
			if (err == nil) != valid {
				t.Errorf("%s cut to %d of %d bytes: %+v, %v", r.name, n, len(r.bytes), v, err)
			}
		}
	}
}

// The same for bodies, whose length the frame header gives: a shorter one is refused, but for data, which then has less payload.
func TestTruncatedBodyIsRefused(t *testing.T) {
	for _, r := range frameRows() {
		typ, body, _, err := Next(r.bytes)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(body) {
			v, err := Parse(typ, body[:n:n])
			switch {
			case typ == FrameData && n >= dataSize:
				if d := v.(Data); err != nil || len(d.Payload) != n-dataSize {
					t.Errorf("%s cut to %d: %+v, %v", r.name, n, v, err)
				}
			case r.appended > 0 && n == len(body)-r.appended && err == nil:
			case err == nil || v != nil:
				t.Errorf("%s cut to %d of %d: %+v, no error", r.name, n, len(body), v)
			case !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrMalformed):
				t.Errorf("%s cut to %d: error %v wraps neither", r.name, n, err)
			}
		}
	}
}

// A later version may say more at the end of a body; this one reads what it knows.
func TestMoreAtTheEndOfABodyIsIgnored(t *testing.T) {
	for _, r := range frameRows() {
		typ, body, _, _ := Next(r.bytes)
		if typ == FrameData {
			continue // its payload is what is left
		}
		v, err := Parse(typ, append(bytes.Clone(body), 1, 2, 3))
		if err != nil || !reflect.DeepEqual(v, r.value) {
			t.Errorf("%s: %+v, %v", r.name, v, err)
		}
	}
	for _, r := range loginRows() {
		v, err := r.parse(append(bytes.Clone(r.bytes), 1, 2, 3))
		if err != nil || !reflect.DeepEqual(v, r.value) {
			t.Errorf("%s: %+v, %v", r.name, v, err)
		}
	}
}

// Senders of an earlier release leave out what was appended since: the rest is read as they meant it.
func TestWhatWasAppendedMayBeMissing(t *testing.T) {
	olderReply := func(b []byte) (any, error) { r, err := ParseLoginReply(b); return r, err }
	for _, r := range loginRows() {
		want, ok := r.value.(LoginReply)
		if !ok || r.appended == 0 {
			continue
		}
		want.Disk.Boot = [32]byte{}
		if got, err := olderReply(r.bytes[:len(r.bytes)-r.appended]); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v, %v", r.name, got, want, err)
		}
	}
	for _, r := range frameRows() {
		want, ok := r.value.(Status)
		if !ok {
			continue
		}
		body := r.bytes[FrameHeaderSize:]
		want.Boot = BootTimes{}
		if got, err := ParseStatus(body[:len(body)-r.appended]); err != nil || got != want {
			t.Errorf("%s:\n got %+v\nwant %+v, %v", r.name, got, want, err)
		}
	}
}

func TestUnknownFramesAreSkippedAndPaddingEndsADatagram(t *testing.T) {
	b := Ping{1}.Append(nil)
	b = append(b, 200, 2, 0, 9, 9)
	b = Pong{2}.Append(b)
	b = AppendPad(b, 5)
	var got []FrameType
	for rest := b; len(rest) > 0; {
		typ, body, more, err := Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := Parse(typ, body); err != nil || (f != nil) != (typ == FramePing || typ == FramePong) {
			t.Fatalf("%v: %v, %v", typ, f, err)
		}
		got, rest = append(got, typ), more
	}
	if want := []FrameType{FramePing, 200, FramePong, FramePad}; !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestReadRefusesWhatWouldCostTheServerMoreThanItSays(t *testing.T) {
	good := Read{ID: 1, Count: 1, N: 2, Ranges: [MaxRanges]Range{{0, 10}, {10, 20}}}
	for name, change := range map[string]func(*Read){
		"no objects":              func(f *Read) { f.Count = 0 },
		"too many objects":        func(f *Read) { f.Count = MaxCount + 1 },
		"level of no tree":        func(f *Read) { f.Level = MaxLevel + 1 },
		"index beyond any disk":   func(f *Read) { f.First = 1 << 63 },
		"empty range":             func(f *Read) { f.Ranges[1] = Range{10, 10} },
		"range turned round":      func(f *Read) { f.Ranges[1] = Range{20, 10} },
		"overlapping ranges":      func(f *Read) { f.Ranges[1].From = 9 },
		"ranges that do not rise": func(f *Read) { f.Ranges[0], f.Ranges[1] = f.Ranges[1], f.Ranges[0] },
		"unknown priority":        func(f *Read) { f.Priority = 2 },
	} {
		f := good
		if _, err := ParseRead(f.Append(nil)[FrameHeaderSize:]); err != nil {
			t.Fatal(err)
		}
		change(&f)
		if _, err := ParseRead(f.Append(nil)[FrameHeaderSize:]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := good.Append(nil)[FrameHeaderSize:]
	b[readSize-1] = MaxRanges + 1
	if _, err := ParseRead(append(b, make([]byte, 1000)...)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too many ranges: %v", err)
	}
}

func TestDataBeyondItsAnswerIsRefused(t *testing.T) {
	for _, d := range []Data{
		{Position: 5, Total: 9, Payload: make([]byte, 5)},
		{Position: 1<<32 - 1, Total: 1<<32 - 1, Payload: make([]byte, 2)},
		{Position: 1, Total: 0},
	} {
		if _, err := ParseData(d.Append(nil)[FrameHeaderSize:]); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

// Whatever is put into a string field, the message can be read at the other end.
func TestAppendNeverMakesWhatParseRefuses(t *testing.T) {
	nasty := []string{"", "\x00\n\x1b[2J", "\xff\xfe", strings.Repeat("é", 500), "a\u202eb", strings.Repeat("x", 300), "\u2028"}
	for _, s := range nasty {
		login := Login{VDisk: s, Label: s, Program: s, Avoid: []string{s, s, s, s, s, s}}
		l, err := ParseLogin(login.Append(nil))
		if err != nil || len(l.VDisk) > MaxName || len(l.Program) > MaxProgram || len(l.Avoid) != MaxAvoid {
			t.Errorf("login with %q: %+v, %v", s, l, err)
		}
		reply := LoginReply{Result: ResultRefer, Server: s, Sentence: s, Disk: Disk{Name: s}, Refer: make([]Referral, 9), HasTicket: true}
		for i := range reply.Refer {
			reply.Refer[i].Name = s
		}
		if _, err := ParseLoginReply(reply.Append(nil)); err != nil {
			t.Errorf("reply with %q: %v", s, err)
		}
		list := Alternates{List: make([]Alternate, 20), Note: s}
		for i := range list.List {
			list.List[i].Name = s
		}
		for _, f := range []Frame{list, Busy{Instead: s}, GoingAway{Proposed: s}, Closed{Sentence: s}} {
			typ, body, _, err := Next(f.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(typ, body); err != nil {
				t.Errorf("%v with %q: %v", typ, s, err)
			}
		}
	}
}

func TestLongestMessagesAreAsLongAsTheirConstants(t *testing.T) {
	s := strings.Repeat("x", 300)
	avoid := []string{s, s, s, s}
	if n := len(Login{VDisk: s, Label: s, Program: s, HasContent: true, Avoid: avoid}.Append(nil)); n != MaxLogin {
		t.Errorf("login: %d, MaxLogin is %d", n, MaxLogin)
	}
	reply := LoginReply{
		Result: ResultRefer, Server: s, Sentence: s, Disk: Disk{Name: s}, Refer: make([]Referral, MaxReferrals),
		HasTicket: true, Ticket: Ticket{Ticket: make([]byte, MaxTicket)},
	}
	for i := range reply.Refer {
		reply.Refer[i].Name = s
	}
	if n := len(reply.Append(nil)); n != MaxLoginReply {
		t.Errorf("reply: %d, MaxLoginReply is %d", n, MaxLoginReply)
	}
	read := Read{Count: 1, N: MaxRanges}
	if n := len(read.Append(nil)); n != MaxRead {
		t.Errorf("read: %d, MaxRead is %d", n, MaxRead)
	}
	list := Alternates{List: make([]Alternate, MaxAlternates), Note: s}
	for i := range list.List {
		list.List[i].Name = s
	}
	if n := len(list.Append(nil)); n > FirstSize-SealedFirstSize-TagSize {
		t.Errorf("alternates of %d bytes do not fit in the smallest datagram", n)
	}
}

// A server of any version can tell a target of any version that they do not fit.
func TestVersionRuleHoldsForOtherWireVersions(t *testing.T) {
	hint := Hint{Receiver: 3, Hint: HintVersion, MinVersion: 4, MaxVersion: 6}
	b := hint.Append(nil)
	b[3] = 77
	if got, err := ParseHint(append(b, 1, 2, 3)); err != nil || got != hint {
		t.Errorf("hint of another version: %+v, %v", got, err)
	}
	hello := datagramRows()[0].bytes
	hello[3] = 77
	if k, err := Peek(hello); k != KindHello || !errors.Is(err, ErrVersion) {
		t.Errorf("hello of another version: %v, %v", k, err)
	}
	if i, ok := Index(hello); i != 0x01020304 || !ok {
		t.Errorf("index of another version: %x, %v", i, ok)
	}
}

func TestDatagramsOfOthersAreForeign(t *testing.T) {
	for _, b := range [][]byte{nil, {4}, {4, 'S'}, {4, 'S', 'p'}, {4, 'S', 'q', 1}, []byte("GET / HTTP/1.1\r\n\r\n"), make([]byte, 64)} {
		if _, err := Peek(b); !errors.Is(err, ErrForeign) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

// Names and reasons reach people: each known one has words of its own, and none is silent.
func TestEveryCodeHasWordsAndASentence(t *testing.T) {
	words := make(map[string]Code)
	for c := range Code(len(codes)) {
		if other, twice := words[c.String()]; twice {
			t.Errorf("codes %d and %d have the same words", c, other)
		}
		words[c.String()] = c
		s := c.Sentence()
		if len(s) > MaxSentence || !strings.HasSuffix(s, ".") || !printable([]byte(s)) {
			t.Errorf("code %d: sentence %q of %d bytes", c, s, len(s))
		}
		if got, err := ParseClosed(Closed{c, s}.Append(nil)[FrameHeaderSize:]); err != nil || got.Sentence != s {
			t.Errorf("code %d does not survive the wire: %+v, %v", c, got, err)
		}
	}
	if s := Code(999).Sentence(); !strings.Contains(s, "999") {
		t.Errorf("unknown code: %q", s)
	}
}

func TestEnumsAreReadableAndUnknownOnesKeepTheirNumber(t *testing.T) {
	for _, v := range []fmt.Stringer{
		KindHello, KindHint, CipherAES256GCM, CipherChaCha20Poly1305, HintVersion, HintOtherFarm, HintUnknownSession, HintTicketRefused,
		ResultAccept, ResultRefer, ResultBusy, ResultDeny, ModeStandard, ModePrivate, ModeMaintenance, LeaveDetached, LeaveMoved,
		LeaveRenewed, LeaveShutdown, AwayStopped, AwayShutdown, AwayRebalance, AwayStore, AwayWithdrawn, StateServing, StateGoingAway, StateStopped,
		StateUnreachable, StateFull, StateNoReplica, Demand, ReadAhead, StatusGSO, FrameData,
	} {
		if s := v.String(); s == "" || strings.ContainsAny(s, "0123456789%") && !strings.Contains(s, "-") {
			t.Errorf("%T: %q", v, s)
		}
	}
	for _, v := range []fmt.Stringer{
		Kind(99), Cipher(99), HintCode(99), Result(99), Mode(99), LeaveReason(99), GoingAwayReason(99), ServerState(99), Priority(99),
		FrameType(99), Code(99),
	} {
		if s := v.String(); !strings.Contains(s, "99") {
			t.Errorf("%T: %q", v, s)
		}
	}
}

func TestTicketSecretIsNeverPrinted(t *testing.T) {
	reply := LoginReply{HasTicket: true, Ticket: tableTicket}
	for _, s := range []string{fmt.Sprintf("%v %+v %s %#v", tableTicket, tableTicket, tableTicket, tableTicket), fmt.Sprintf("%v %+v %#v", reply, reply, reply)} {
		if strings.Contains(s, "144, 145") || strings.Contains(s, "144 145") || strings.Contains(s, "0x90, 0x91") {
			t.Errorf("secret is printed: %s", s)
		}
	}
}
