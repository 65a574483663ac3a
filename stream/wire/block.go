package wire

import (
	"encoding/binary"
	"strconv"
	"time"
)

// Bounds and sizes of the frames that move blocks, in bytes where nothing else is said.
const (
	// MaxRanges is how many byte ranges of one answer a Read can ask for.
	MaxRanges = 16
	// MaxCount is how many objects a Read can name.
	MaxCount = 1024
	// MaxLevel is the highest level of a tree: 64-bit disks in the smallest chunks need 9 levels of pages.
	MaxLevel = 10

	readSize    = 17
	rangeSize   = 8
	dataSize    = 14
	pendingSize = 4

	// MaxRead is the longest Read frame, header included.
	MaxRead = FrameHeaderSize + readSize + MaxRanges*rangeSize
	// ReadSize is a Read frame without ranges, header included.
	ReadSize = FrameHeaderSize + readSize
	// DataOverhead is what a Data frame adds to its payload.
	DataOverhead = FrameHeaderSize + dataSize

	// HeldUnit is the unit of Data.Held.
	HeldUnit = 16 * time.Microsecond
)

// Priority of a read.
type Priority uint8

// The priorities; lower numbers come first.
const (
	Demand    Priority = 0 // somebody waits for it
	ReadAhead Priority = 1
)

// String is the priority in words.
func (p Priority) String() string {
	switch p {
	case Demand:
		return "demand"
	case ReadAhead:
		return "read-ahead"
	}
	return "priority " + strconv.Itoa(int(p))
}

// Range is the bytes [From, To) of an answer.
type Range struct {
	From, To uint32
}

// Read asks for the concatenation of the stored bytes of Count objects of one level, or for ranges of it. No range means
// everything. Ranges ascend and do not touch one another backwards, so that no byte is asked for twice by one frame.
type Read struct {
	ID       uint32
	Level    uint8
	Priority Priority
	Count    uint16 // 1..MaxCount
	First    uint64
	N        uint8 // how many of Ranges count
	Ranges   [MaxRanges]Range
}

// Type is FrameRead.
func (Read) Type() FrameType { return FrameRead }

// Append appends the frame to dst.
func (f Read) Append(dst []byte) []byte {
	n := min(int(f.N), MaxRanges)
	dst = append(dst, byte(FrameRead))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(readSize+n*rangeSize))
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = append(dst, f.Level, byte(f.Priority))
	dst = binary.LittleEndian.AppendUint16(dst, f.Count)
	dst = binary.LittleEndian.AppendUint64(dst, f.First)
	dst = append(dst, byte(n))
	for _, r := range f.Ranges[:n] {
		dst = binary.LittleEndian.AppendUint32(dst, r.From)
		dst = binary.LittleEndian.AppendUint32(dst, r.To)
	}
	return dst
}

// ParseRead reads the body of a Read frame. It allocates only for an error.
func ParseRead(body []byte) (f Read, err error) {
	if len(body) < readSize {
		return Read{}, truncated("read")
	}
	f.ID = binary.LittleEndian.Uint32(body)
	f.Level, f.Priority = body[4], Priority(body[5])
	f.Count = binary.LittleEndian.Uint16(body[6:])
	f.First = binary.LittleEndian.Uint64(body[8:])
	f.N = body[16]
	switch {
	case f.Level > MaxLevel:
		return Read{}, malformed("read", "level out of bounds")
	case f.Priority > ReadAhead:
		return Read{}, malformed("read", "priority not known")
	case f.Count == 0 || f.Count > MaxCount:
		return Read{}, malformed("read", "count out of bounds")
	case f.First > 1<<63-1-MaxCount:
		return Read{}, malformed("read", "index out of bounds")
	case f.N > MaxRanges:
		return Read{}, malformed("read", "too many ranges")
	case len(body) < readSize+int(f.N)*rangeSize:
		return Read{}, truncated("read")
	}
	var last uint32
	for i := range f.Ranges[:f.N] {
		r := Range{
			From: binary.LittleEndian.Uint32(body[readSize+i*rangeSize:]),
			To:   binary.LittleEndian.Uint32(body[readSize+i*rangeSize+4:]),
		}
		if r.From < last || r.To <= r.From {
			return Read{}, malformed("read", "ranges are empty or do not ascend")
		}
		f.Ranges[i], last = r, r.To
	}
	return f, nil
}

// Data brings bytes of the answer to a Read.
type Data struct {
	ID       uint32 // of the Read
	Position uint32 // of the first byte of Payload in the whole answer
	Total    uint32 // bytes of the whole answer
	Held     uint16 // how long the server held the request, in HeldUnit, saturating
	Payload  []byte // when parsed: aliases the datagram
}

// Held turns a duration into units of Data.Held.
func Held(d time.Duration) uint16 {
	return uint16(min(max(0, d/HeldUnit), 1<<16-1))
}

// HeldTime is how long the server held the request; at the upper end it is a lower bound.
func (f Data) HeldTime() time.Duration { return time.Duration(f.Held) * HeldUnit }

// Type is FrameData.
func (Data) Type() FrameType { return FrameData }

// AppendDataHeader appends everything of the frame that stands before its payload. Of f.Payload only the length counts: the
// caller places so many bytes behind what is returned, or has placed them already.
func AppendDataHeader(dst []byte, f Data) []byte {
	dst = append(dst, byte(FrameData))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(dataSize+len(f.Payload)))
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = binary.LittleEndian.AppendUint32(dst, f.Position)
	dst = binary.LittleEndian.AppendUint32(dst, f.Total)
	return binary.LittleEndian.AppendUint16(dst, f.Held)
}

// Append appends the frame to dst, payload included.
func (f Data) Append(dst []byte) []byte {
	return append(AppendDataHeader(dst, f), f.Payload...)
}

// ParseData reads the body of a Data frame; the payload aliases it. It allocates only for an error.
func ParseData(body []byte) (f Data, err error) {
	if len(body) < dataSize {
		return Data{}, truncated("data")
	}
	f.ID = binary.LittleEndian.Uint32(body)
	f.Position = binary.LittleEndian.Uint32(body[4:])
	f.Total = binary.LittleEndian.Uint32(body[8:])
	f.Held = binary.LittleEndian.Uint16(body[12:])
	f.Payload = body[dataSize:]
	if uint64(f.Position)+uint64(len(f.Payload)) > uint64(f.Total) {
		return Data{}, malformed("data", "payload reaches beyond the end of the answer")
	}
	return f, nil
}

// Pending says that a Read was received and is being worked on.
type Pending struct {
	ID uint32
}

// Type is FramePending.
func (Pending) Type() FrameType { return FramePending }

// Append appends the frame to dst.
func (f Pending) Append(dst []byte) []byte {
	dst = append(dst, byte(FramePending), pendingSize, 0)
	return binary.LittleEndian.AppendUint32(dst, f.ID)
}

// ParsePending reads the body of a Pending frame. It allocates only for an error.
func ParsePending(body []byte) (Pending, error) {
	if len(body) < pendingSize {
		return Pending{}, truncated("pending")
	}
	return Pending{ID: binary.LittleEndian.Uint32(body)}, nil
}

// Busy answers a Read when a bound of the server is reached.
type Busy struct {
	ID           uint32
	RetryAfterMS uint16
	Instead      string // a server to try instead; may be empty
}

// Type is FrameBusy.
func (Busy) Type() FrameType { return FrameBusy }

// Append appends the frame to dst.
func (f Busy) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameBusy)
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = binary.LittleEndian.AppendUint16(dst, f.RetryAfterMS)
	return end(appendText(dst, f.Instead, MaxName), at)
}

// ParseBusy reads the body of a Busy frame.
func ParseBusy(body []byte) (Busy, error) {
	r := reader{b: body}
	f := Busy{ID: r.u32(), RetryAfterMS: r.u16(), Instead: r.text(MaxName)}
	if err := r.err("busy"); err != nil {
		return Busy{}, err
	}
	return f, nil
}

// Failed answers a Read for which this server has no good copy of an object: another server may.
type Failed struct {
	ID    uint32
	Level uint8
	Index uint64
	Code  Code // CodeDamaged, CodeStoreGone, ...; below 256
}

// Type is FrameFailed.
func (Failed) Type() FrameType { return FrameFailed }

// Append appends the frame to dst.
func (f Failed) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameFailed)
	dst = binary.LittleEndian.AppendUint32(dst, f.ID)
	dst = append(dst, f.Level)
	dst = binary.LittleEndian.AppendUint64(dst, f.Index)
	return end(append(dst, byte(f.Code)), at)
}

// ParseFailed reads the body of a Failed frame.
func ParseFailed(body []byte) (Failed, error) {
	r := reader{b: body}
	f := Failed{ID: r.u32(), Level: r.u8(), Index: r.u64(), Code: Code(r.u8())}
	if err := r.err("failed"); err != nil {
		return Failed{}, err
	}
	if f.Level > MaxLevel {
		return Failed{}, malformed("failed", "level out of bounds")
	}
	return f, nil
}

// Bad tells the server that an object that it sent does not verify.
type Bad struct {
	Level uint8
	Index uint64
}

// Type is FrameBad.
func (Bad) Type() FrameType { return FrameBad }

// Append appends the frame to dst.
func (f Bad) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameBad)
	dst = append(dst, f.Level)
	return end(binary.LittleEndian.AppendUint64(dst, f.Index), at)
}

// ParseBad reads the body of a Bad frame.
func ParseBad(body []byte) (Bad, error) {
	r := reader{b: body}
	f := Bad{Level: r.u8(), Index: r.u64()}
	if err := r.err("bad"); err != nil {
		return Bad{}, err
	}
	if f.Level > MaxLevel || f.Index > 1<<63-1 {
		return Bad{}, malformed("bad", "level or index out of bounds")
	}
	return f, nil
}
