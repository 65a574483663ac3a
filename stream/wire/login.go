package wire

import (
	"encoding/binary"
	"math"
	"net/netip"
	"strconv"
)

// Bounds of log-in payloads. Strings are counted in bytes.
const (
	MaxName      = 64  // vDisk, server, label
	MaxProgram   = 32  // name and version of the target's program
	MaxSentence  = 240 // what a person reads
	MaxAvoid     = 4   // servers that the target does not want
	MaxReferrals = 3   // servers that a reply refers to

	macSize     = 6
	contentSize = 40
	bootSize    = 32
	diskSize    = (1 + MaxName) + 4 + contentSize + 8 + 4 + 4 + 1 + 1
	referSize   = (1 + MaxName) + ServerIDSize + 18
	ticketSize  = 2 + MaxTicket + 32 + 4

	// MaxLogin is the longest Login.
	MaxLogin = 8 + macSize + 2 + (1 + MaxName) + 4 + (1 + MaxName) + (1 + MaxProgram) + 1 + contentSize + 1 + MaxAvoid*(1+MaxName)
	// MaxLoginReply is the longest LoginReply: a referral with a ticket.
	MaxLoginReply = 1 + 2 + 1 + 8 + ServerIDSize + (1 + MaxName) + 4 + 1 + diskSize + 1 + MaxReferrals*referSize + 1 + ticketSize + bootSize
)

// NewestVersion as a version number stands for the highest version that the farm offers.
const NewestVersion uint32 = math.MaxUint32

// LoginFlags qualify a log-in.
type LoginFlags uint16

// LoginReconnect marks a log-in of a target that already uses its vDisk: reconnects come before boots.
const LoginReconnect LoginFlags = 1

// Content names what a vDisk version holds: two versions with the same Content are interchangeable.
type Content struct {
	Root      [32]byte
	Timestamp int64 // unix nanoseconds, from the seal
}

func (c Content) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, c.Root[:]...), uint64(c.Timestamp))
}

func (r *reader) content() (c Content) {
	r.bytes(c.Root[:])
	c.Timestamp = int64(r.u64())
	return c
}

// Login is the payload of a Hello.
type Login struct {
	Features   uint64 // bits; unknown ones are ignored
	MAC        [6]byte
	Flags      LoginFlags
	VDisk      string // empty: what is assigned to the device
	Number     uint32 // version; NewestVersion
	Label      string // what the device calls itself; for people
	Program    string // name and version of the target's program; for people
	HasContent bool
	Content    Content // what the target already uses, when HasContent
	Avoid      []string
}

// Append appends the login to dst.
func (l Login) Append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, l.Features)
	dst = append(dst, l.MAC[:]...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(l.Flags))
	dst = appendText(dst, l.VDisk, MaxName)
	dst = binary.LittleEndian.AppendUint32(dst, l.Number)
	dst = appendText(dst, l.Label, MaxName)
	dst = appendText(dst, l.Program, MaxProgram)
	dst = appendBool(dst, l.HasContent)
	if l.HasContent {
		dst = l.Content.append(dst)
	}
	avoid := l.Avoid[:min(len(l.Avoid), MaxAvoid)]
	dst = append(dst, byte(len(avoid)))
	for _, s := range avoid {
		dst = appendText(dst, s, MaxName)
	}
	return dst
}

// ParseLogin reads a login. The result is a copy.
func ParseLogin(b []byte) (Login, error) {
	r := reader{b: b}
	var l Login
	l.Features = r.u64()
	r.bytes(l.MAC[:])
	l.Flags = LoginFlags(r.u16())
	l.VDisk, l.Number = r.text(MaxName), r.u32()
	l.Label, l.Program = r.text(MaxName), r.text(MaxProgram)
	if l.HasContent = r.bool(); l.HasContent {
		l.Content = r.content()
	}
	n := int(r.u8())
	if n > MaxAvoid {
		return Login{}, malformed("login", "too many servers to avoid")
	}
	for range n {
		l.Avoid = append(l.Avoid, r.text(MaxName))
	}
	if err := r.err("login"); err != nil {
		return Login{}, err
	}
	return l, nil
}

// Result of a log-in.
type Result uint8

// The results.
const (
	ResultAccept Result = 1
	ResultRefer  Result = 2
	ResultBusy   Result = 3 // try again after a while
	ResultDeny   Result = 4
)

// String is the result in words.
func (r Result) String() string {
	switch r {
	case ResultAccept:
		return "accept"
	case ResultRefer:
		return "refer"
	case ResultBusy:
		return "busy"
	case ResultDeny:
		return "deny"
	}
	return "result " + strconv.Itoa(int(r))
}

// Mode is the access mode of a vDisk for this device.
type Mode uint8

// The access modes.
const (
	ModeStandard    Mode = 1 // many devices, read-only with a write cache
	ModePrivate     Mode = 2 // one device, read and write
	ModeMaintenance Mode = 3 // one device, read and write, a version that is being made
)

// String is the mode in words.
func (m Mode) String() string {
	switch m {
	case ModeStandard:
		return "standard"
	case ModePrivate:
		return "private"
	case ModeMaintenance:
		return "maintenance"
	}
	return "mode " + strconv.Itoa(int(m))
}

// Disk describes the vDisk that a target was accepted for.
type Disk struct {
	Name       string
	Number     uint32 // version
	Content    Content
	Size       int64 // bytes
	SectorSize uint32
	ChunkSize  uint32
	Levels     uint8 // of pages
	Mode       Mode
	Boot       [bootSize]byte // digest of what the version is booted with, on which its root depends; zero: nothing
}

// append appends all but Boot, which stands at the end of the message that has the disk.
func (d Disk) append(dst []byte) []byte {
	dst = appendText(dst, d.Name, MaxName)
	dst = binary.LittleEndian.AppendUint32(dst, d.Number)
	dst = d.Content.append(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Size))
	dst = binary.LittleEndian.AppendUint32(dst, d.SectorSize)
	dst = binary.LittleEndian.AppendUint32(dst, d.ChunkSize)
	return append(dst, d.Levels, byte(d.Mode))
}

func (r *reader) disk() Disk {
	return Disk{
		Name: r.text(MaxName), Number: r.u32(), Content: r.content(), Size: int64(r.u64()),
		SectorSize: r.u32(), ChunkSize: r.u32(), Levels: r.u8(), Mode: Mode(r.u8()),
	}
}

// Referral is a server that a target is sent to.
type Referral struct {
	Name string
	ID   [ServerIDSize]byte
	Addr netip.AddrPort // IPv4 unmapped
}

// LoginReply is the payload of a Welcome.
type LoginReply struct {
	Result       Result
	Code         Code  // for busy and deny
	Version      uint8 // protocol version that the server chose
	Features     uint64
	ServerID     [ServerIDSize]byte
	Server       string // the server's name
	RetryAfterMS uint32 // for busy
	Sentence     string // for people, for busy and deny
	Disk         Disk   // for accept and refer
	Refer        []Referral
	HasTicket    bool
	Ticket       Ticket // for accept and refer; aliases the input
}

// accepts tells whether the reply has a disk.
func (l *LoginReply) accepts() bool { return l.Result == ResultAccept || l.Result == ResultRefer }

// Append appends the reply to dst. What does not belong to the result is left out.
func (l LoginReply) Append(dst []byte) []byte {
	dst = append(dst, byte(l.Result))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(l.Code))
	dst = append(dst, l.Version)
	dst = binary.LittleEndian.AppendUint64(dst, l.Features)
	dst = append(dst, l.ServerID[:]...)
	dst = appendText(dst, l.Server, MaxName)
	dst = binary.LittleEndian.AppendUint32(dst, l.RetryAfterMS)
	sentence := l.Sentence
	if l.accepts() {
		sentence = "" // its room is the disk's
	}
	dst = appendText(dst, sentence, MaxSentence)
	switch l.Result {
	case ResultAccept:
		dst = l.Disk.append(dst)
	case ResultRefer:
		dst = l.Disk.append(dst)
		list := l.Refer[:min(len(l.Refer), MaxReferrals)]
		dst = append(dst, byte(len(list)))
		for _, s := range list {
			dst = appendText(dst, s.Name, MaxName)
			dst = append(dst, s.ID[:]...)
			dst = appendAddr(dst, s.Addr)
		}
	default:
		return dst
	}
	dst = appendBool(dst, l.HasTicket)
	if l.HasTicket {
		dst = l.Ticket.append(dst)
	}
	return append(dst, l.Disk.Boot[:]...)
}

// ParseLoginReply reads a reply. The ticket aliases b, everything else is a copy.
func ParseLoginReply(b []byte) (LoginReply, error) {
	r := reader{b: b}
	l := LoginReply{Result: Result(r.u8()), Code: Code(r.u16()), Version: r.u8(), Features: r.u64()}
	r.bytes(l.ServerID[:])
	l.Server, l.RetryAfterMS, l.Sentence = r.text(MaxName), r.u32(), r.text(MaxSentence)
	switch l.Result {
	case ResultAccept:
		l.Disk = r.disk()
	case ResultRefer:
		l.Disk = r.disk()
		n := int(r.u8())
		if n > MaxReferrals {
			return LoginReply{}, malformed("login reply", "too many servers to go to")
		}
		for range n {
			s := Referral{Name: r.text(MaxName)}
			r.bytes(s.ID[:])
			s.Addr = r.addr()
			l.Refer = append(l.Refer, s)
		}
	case ResultBusy, ResultDeny:
	default:
		if !r.short {
			return LoginReply{}, malformed("login reply", "result not known")
		}
	}
	if l.accepts() {
		l.Sentence = ""
		if l.HasTicket = r.bool(); l.HasTicket {
			l.Ticket = r.ticket()
		}
		if len(r.b) > 0 { // older servers end here
			r.bytes(l.Disk.Boot[:])
		}
	}
	if err := r.err("login reply"); err != nil {
		return LoginReply{}, err
	}
	if len(l.Ticket.Ticket) > MaxTicket {
		return LoginReply{}, malformed("login reply", "ticket too long")
	}
	if l.Disk.Size < 0 {
		return LoginReply{}, malformed("login reply", "size of the vDisk is negative")
	}
	return l, nil
}
