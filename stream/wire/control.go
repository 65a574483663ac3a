package wire

import "encoding/binary"

// StatusFlags say which offloads the target's kernel gives it.
type StatusFlags uint8

// The status flags.
const (
	StatusGSO StatusFlags = 1 << iota // large sends are cut by the kernel or the card
	StatusGRO                         // received datagrams come in trains
)

// String is the flags as `spate-target status` shows them.
func (f StatusFlags) String() string {
	switch f & (StatusGSO | StatusGRO) {
	case StatusGSO | StatusGRO:
		return "GSO+GRO"
	case StatusGSO:
		return "GSO"
	case StatusGRO:
		return "GRO"
	}
	return "plain"
}

// Status is what a target measured since its session began.
type Status struct {
	Seq            uint32
	Bytes          uint64 // received payload
	Reads          uint64
	Lost           uint32 // retries because an answer did not come
	Late           uint32 // retries whose first answer came after all
	Busy           uint32 // retries because the server said so
	RTT            uint32 // smoothed round trip, microseconds
	Window         uint32 // bytes asked for and not received, at most
	Packet         uint16 // datagram size in use, bytes of UDP payload
	LongestPauseMS uint32
	Failovers      uint32
	Flags          StatusFlags
	Boot           BootTimes
}

// BootTimes are when a machine that boots from its vDisk reached each stage, in milliseconds since its kernel started; 0 is
// unknown.
type BootTimes struct {
	ModulesMS  uint32 // kernel modules are loaded
	NetworkMS  uint32 // the card has an address
	LogInMS    uint32 // a server accepted the log-in
	AttachedMS uint32 // the vDisk is a block device
	RootMS     uint32 // the root file system is mounted
	InitMS     uint32 // the system's own init was started
	UptimeMS   uint32 // when this was sent; the highest number stands for all above it
}

const bootTimesSize = 7 * 4

func (b BootTimes) append(dst []byte) []byte {
	for _, ms := range [...]uint32{b.ModulesMS, b.NetworkMS, b.LogInMS, b.AttachedMS, b.RootMS, b.InitMS, b.UptimeMS} {
		dst = binary.LittleEndian.AppendUint32(dst, ms)
	}
	return dst
}

func (r *reader) bootTimes() BootTimes {
	if len(r.b) == 0 {
		return BootTimes{} // older targets end here
	}
	return BootTimes{
		ModulesMS: r.u32(), NetworkMS: r.u32(), LogInMS: r.u32(), AttachedMS: r.u32(), RootMS: r.u32(), InitMS: r.u32(),
		UptimeMS: r.u32(),
	}
}

// Type is FrameStatus.
func (Status) Type() FrameType { return FrameStatus }

// Append appends the frame to dst.
func (f Status) Append(dst []byte) []byte {
	dst, at := begin(dst, FrameStatus)
	dst = binary.LittleEndian.AppendUint32(dst, f.Seq)
	dst = binary.LittleEndian.AppendUint64(dst, f.Bytes)
	dst = binary.LittleEndian.AppendUint64(dst, f.Reads)
	dst = binary.LittleEndian.AppendUint32(dst, f.Lost)
	dst = binary.LittleEndian.AppendUint32(dst, f.Late)
	dst = binary.LittleEndian.AppendUint32(dst, f.Busy)
	dst = binary.LittleEndian.AppendUint32(dst, f.RTT)
	dst = binary.LittleEndian.AppendUint32(dst, f.Window)
	dst = binary.LittleEndian.AppendUint16(dst, f.Packet)
	dst = binary.LittleEndian.AppendUint32(dst, f.LongestPauseMS)
	dst = binary.LittleEndian.AppendUint32(dst, f.Failovers)
	return end(f.Boot.append(append(dst, byte(f.Flags))), at)
}

// ParseStatus reads the body of a Status frame.
func ParseStatus(body []byte) (Status, error) {
	r := reader{b: body}
	f := Status{
		Seq: r.u32(), Bytes: r.u64(), Reads: r.u64(), Lost: r.u32(), Late: r.u32(), Busy: r.u32(), RTT: r.u32(),
		Window: r.u32(), Packet: r.u16(), LongestPauseMS: r.u32(), Failovers: r.u32(), Flags: StatusFlags(r.u8()),
		Boot: r.bootTimes(),
	}
	if err := r.err("status"); err != nil {
		return Status{}, err
	}
	return f, nil
}

// StatusReply answers a Status.
type StatusReply struct {
	Seq uint32
}

// Type is FrameStatusReply.
func (StatusReply) Type() FrameType { return FrameStatusReply }

// Append appends the frame to dst.
func (f StatusReply) Append(dst []byte) []byte { return appendU32(dst, FrameStatusReply, f.Seq) }

// ParseStatusReply reads the body of a StatusReply frame.
func ParseStatusReply(body []byte) (StatusReply, error) {
	v, err := parseU32(body, "status reply")
	return StatusReply{v}, err
}

// Size tells the largest datagram that arrives at the target, in bytes of UDP payload. The server may use it.
type Size struct {
	Largest uint16
}

// Type is FrameSize.
func (Size) Type() FrameType { return FrameSize }

// Append appends the frame to dst.
func (f Size) Append(dst []byte) []byte { return appendU16(dst, FrameSize, f.Largest) }

// ParseSize reads the body of a Size frame.
func ParseSize(body []byte) (Size, error) {
	v, err := parseU16(body, "size")
	return Size{v}, err
}

// Probe is sent in a datagram of Size bytes, filled up by Pad: if it arrives, such datagrams do.
type Probe struct {
	Size uint16
}

// Type is FrameProbe.
func (Probe) Type() FrameType { return FrameProbe }

// Append appends the frame to dst, without the padding (see AppendPad).
func (f Probe) Append(dst []byte) []byte { return appendU16(dst, FrameProbe, f.Size) }

// ParseProbe reads the body of a Probe frame.
func ParseProbe(body []byte) (Probe, error) {
	v, err := parseU16(body, "probe")
	return Probe{v}, err
}

// AppendPad appends n bytes of padding, which end the frames of a datagram.
func AppendPad(dst []byte, n int) []byte { return append(dst, make([]byte, max(0, n))...) }

// PathCheck is sent to a new address of the target; the session moves there when PathAnswer comes back with the token.
type PathCheck struct {
	Token uint64
}

// Type is FramePathCheck.
func (PathCheck) Type() FrameType { return FramePathCheck }

// Append appends the frame to dst.
func (f PathCheck) Append(dst []byte) []byte { return appendU64(dst, FramePathCheck, f.Token) }

// ParsePathCheck reads the body of a PathCheck frame.
func ParsePathCheck(body []byte) (PathCheck, error) {
	v, err := parseU64(body, "path check")
	return PathCheck{v}, err
}

// PathAnswer answers a PathCheck.
type PathAnswer struct {
	Token uint64
}

// Type is FramePathAnswer.
func (PathAnswer) Type() FrameType { return FramePathAnswer }

// Append appends the frame to dst.
func (f PathAnswer) Append(dst []byte) []byte { return appendU64(dst, FramePathAnswer, f.Token) }

// ParsePathAnswer reads the body of a PathAnswer frame.
func ParsePathAnswer(body []byte) (PathAnswer, error) {
	v, err := parseU64(body, "path answer")
	return PathAnswer{v}, err
}

// Ping asks the server for a sign of life.
type Ping struct {
	Token uint32
}

// Type is FramePing.
func (Ping) Type() FrameType { return FramePing }

// Append appends the frame to dst.
func (f Ping) Append(dst []byte) []byte { return appendU32(dst, FramePing, f.Token) }

// ParsePing reads the body of a Ping frame.
func ParsePing(body []byte) (Ping, error) {
	v, err := parseU32(body, "ping")
	return Ping{v}, err
}

// Pong answers a Ping.
type Pong struct {
	Token uint32
}

// Type is FramePong.
func (Pong) Type() FrameType { return FramePong }

// Append appends the frame to dst.
func (f Pong) Append(dst []byte) []byte { return appendU32(dst, FramePong, f.Token) }

// ParsePong reads the body of a Pong frame.
func ParsePong(body []byte) (Pong, error) {
	v, err := parseU32(body, "pong")
	return Pong{v}, err
}

func appendU16(dst []byte, t FrameType, v uint16) []byte {
	return binary.LittleEndian.AppendUint16(append(dst, byte(t), 2, 0), v)
}

func appendU32(dst []byte, t FrameType, v uint32) []byte {
	return binary.LittleEndian.AppendUint32(append(dst, byte(t), 4, 0), v)
}

func appendU64(dst []byte, t FrameType, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(dst, byte(t), 8, 0), v)
}

func parseU16(body []byte, what string) (uint16, error) {
	if len(body) < 2 {
		return 0, truncated(what)
	}
	return binary.LittleEndian.Uint16(body), nil
}

func parseU32(body []byte, what string) (uint32, error) {
	if len(body) < 4 {
		return 0, truncated(what)
	}
	return binary.LittleEndian.Uint32(body), nil
}

func parseU64(body []byte, what string) (uint64, error) {
	if len(body) < 8 {
		return 0, truncated(what)
	}
	return binary.LittleEndian.Uint64(body), nil
}
