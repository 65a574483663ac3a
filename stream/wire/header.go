package wire

import (
	"encoding/binary"
	"errors"
	"strconv"
)

// Version is the wire version, the fourth byte of every datagram. It changes only when the clear part of a datagram changes.
const Version = 1

// MinProtocol and MaxProtocol are the protocol versions that this code speaks. They stand in Hello and in the version hint.
const (
	MinProtocol = 1
	MaxProtocol = 1
)

// Sizes of datagrams and of their clear parts, in bytes.
const (
	// PrefixSize is kind, magic and wire version, with which every datagram begins.
	PrefixSize = 4
	// FirstSize is the least size of what is sent to an unproven server: a Hello and a Resume. An answer before proof of the
	// address is never longer than what it answers.
	FirstSize = 1200
	// HelloSize is the clear header of a Hello; the noise message follows.
	HelloSize = 24
	// WelcomeSize is the clear header of a Welcome; the noise message follows and is the rest of the datagram.
	WelcomeSize = 16
	// CookieSize is a whole Cookie.
	CookieSize = 64
	// SealedSize is the clear header of a Sealed; it is the additional data of the seal.
	SealedSize = 16
	// SealedFirstSize is the clear header of a SealedFirst; it is the additional data of the seal.
	SealedFirstSize = 52
	// ResumeSize is the clear header of a Resume; the ticket follows.
	ResumeSize = 12
	// HintSize is a whole Hint.
	HintSize = 20
	// TagSize is what sealing adds at the end.
	TagSize = 16
	// MACSize is the size of mac1 and of mac2, with which Hello and Resume end.
	MACSize = 16
	// MACsSize is both.
	MACsSize = 2 * MACSize
	// RandomSize is the target's random in a Resume.
	RandomSize = 32
	// ServerRandomSize is the server's random in a SealedFirst.
	ServerRandomSize = 16
	// ServerIDSize is a server's id.
	ServerIDSize = 16
	// KeyIDSize is the id of a farm key.
	KeyIDSize = 8
	// MaxDatagram is the largest UDP payload over IPv4; nothing longer is made or read.
	MaxDatagram = 65507
	// MaxTicket bounds the bytes of a ticket, which only servers can read.
	MaxTicket = 320
)

// HeaderSize is the name of SealedSize for those who leave room for it.
const HeaderSize = SealedSize

const (
	magic0 = 'S'
	magic1 = 'p'

	offIndex      = 4  // in all kinds: whose session the datagram names
	offCounter    = 8  // Sealed and SealedFirst
	offHintCount  = 12 // Hint
	sealedLength  = 2  // length field before the sealed frames of a Resume
	resumeLeast   = ResumeSize + RandomSize + sealedLength + TagSize + MACsSize
	offHelloNoise = 20
)

// Kind is the first byte of a datagram. Numbers are appended, never given a new meaning.
type Kind uint8

// The kinds of datagrams.
const (
	KindHello       Kind = 1 // target: first message of a handshake
	KindWelcome     Kind = 2 // server: second message of a handshake
	KindCookie      Kind = 3 // server: prove your address
	KindSealed      Kind = 4 // both: sealed frames
	KindResume      Kind = 5 // target: a ticket and sealed reads
	KindSealedFirst Kind = 6 // server: sealed frames that carry what the session keys are made from
	KindHint        Kind = 7 // server: an unsealed hint
)

// String names the kind for logs.
func (k Kind) String() string {
	switch k {
	case KindHello:
		return "hello"
	case KindWelcome:
		return "welcome"
	case KindCookie:
		return "cookie"
	case KindSealed:
		return "sealed"
	case KindResume:
		return "resume"
	case KindSealedFirst:
		return "sealed first"
	case KindHint:
		return "hint"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Cipher is the AEAD of a session's transport, named by the target in its first message.
type Cipher uint8

// The ciphers.
const (
	CipherAES256GCM        Cipher = 1 // for CPUs with AES instructions
	CipherChaCha20Poly1305 Cipher = 2 // for the others
)

// Known tells whether c is a cipher of this version.
func (c Cipher) Known() bool { return c == CipherAES256GCM || c == CipherChaCha20Poly1305 }

// String is the usual name of the cipher.
func (c Cipher) String() string {
	switch c {
	case CipherAES256GCM:
		return "AES-256-GCM"
	case CipherChaCha20Poly1305:
		return "ChaCha20-Poly1305"
	}
	return "cipher " + strconv.Itoa(int(c))
}

// Peek reads the prefix of a datagram. ErrForeign means that it is not ours at all, ErrVersion that it is of another wire version:
// the kind is right then, and so is what the version rule promises.
func Peek(datagram []byte) (Kind, error) {
	if len(datagram) < PrefixSize || datagram[1] != magic0 || datagram[2] != magic1 {
		return 0, ErrForeign
	}
	if datagram[3] != Version {
		return Kind(datagram[0]), ErrVersion
	}
	return Kind(datagram[0]), nil
}

// Index reads the session index of a datagram: the sender's own in Hello and Resume, the receiver's in all others.
// A datagram too short for one gives 0, false.
func Index(datagram []byte) (uint32, bool) {
	if len(datagram) < offIndex+4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(datagram[offIndex:]), true
}

func appendPrefix(dst []byte, k Kind, index uint32) []byte {
	dst = append(dst, byte(k), magic0, magic1, Version)
	return binary.LittleEndian.AppendUint32(dst, index)
}

// check tells whether the datagram is of kind k, of this version, and at least size long.
func check(datagram []byte, k Kind, size int) error {
	got, err := Peek(datagram)
	switch {
	case err != nil:
		return err
	case got != k:
		return ErrKind
	case len(datagram) < size:
		return ErrTruncated
	case len(datagram) > MaxDatagram:
		return ErrMalformed
	}
	return nil
}

// Hello is the clear header of a target's first message.
type Hello struct {
	Index       uint32 // the target's
	MinVersion  uint8  // protocol versions that the target speaks
	MaxVersion  uint8
	Cipher      Cipher
	Flags       uint8 // none yet; unknown ones are ignored
	FarmKey     [KeyIDSize]byte
	NoiseLength uint16 // bytes of the noise message that follows the header
}

// Append appends the header to dst.
func (h Hello) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindHello, h.Index)
	dst = append(dst, h.MinVersion, h.MaxVersion, byte(h.Cipher), h.Flags)
	dst = append(dst, h.FarmKey[:]...)
	dst = binary.LittleEndian.AppendUint16(dst, h.NoiseLength)
	return append(dst, 0, 0)
}

// ParseHello reads a Hello; noise aliases the datagram. Padding is not looked at, the MACs are checked by the caller.
func ParseHello(datagram []byte) (h Hello, noise []byte, err error) {
	if err := check(datagram, KindHello, FirstSize); err != nil {
		return Hello{}, nil, err
	}
	h.Index = binary.LittleEndian.Uint32(datagram[offIndex:])
	h.MinVersion, h.MaxVersion = datagram[8], datagram[9]
	h.Cipher, h.Flags = Cipher(datagram[10]), datagram[11]
	copy(h.FarmKey[:], datagram[12:])
	h.NoiseLength = binary.LittleEndian.Uint16(datagram[offHelloNoise:])
	end := HelloSize + int(h.NoiseLength)
	if end > len(datagram)-MACsSize {
		return Hello{}, nil, ErrMalformed
	}
	return h, datagram[HelloSize:end:end], nil
}

// Welcome is the clear header of a server's handshake message.
type Welcome struct {
	Receiver    uint32 // the target's index, from its Hello
	Index       uint32 // the server's
	NoiseLength uint16 // bytes of the noise message, which is the rest of the datagram
}

// Append appends the header to dst.
func (w Welcome) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindWelcome, w.Receiver)
	dst = binary.LittleEndian.AppendUint32(dst, w.Index)
	dst = binary.LittleEndian.AppendUint16(dst, w.NoiseLength)
	return append(dst, 0, 0)
}

// ParseWelcome reads a Welcome; noise aliases the datagram.
func ParseWelcome(datagram []byte) (w Welcome, noise []byte, err error) {
	if err := check(datagram, KindWelcome, WelcomeSize); err != nil {
		return Welcome{}, nil, err
	}
	w.Receiver = binary.LittleEndian.Uint32(datagram[offIndex:])
	w.Index = binary.LittleEndian.Uint32(datagram[8:])
	w.NoiseLength = binary.LittleEndian.Uint16(datagram[12:])
	if len(datagram) != WelcomeSize+int(w.NoiseLength) {
		return Welcome{}, nil, ErrMalformed
	}
	return w, datagram[WelcomeSize:], nil
}

// Cookie asks a target to prove its address: it can open the cookie only if it receives here.
type Cookie struct {
	Receiver uint32 // the index in the Hello or Resume that is answered
	Nonce    [24]byte
	Sealed   [32]byte
}

// Append appends the whole datagram to dst.
func (c Cookie) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindCookie, c.Receiver)
	dst = append(dst, c.Nonce[:]...)
	return append(dst, c.Sealed[:]...)
}

// ParseCookie reads a Cookie.
func ParseCookie(datagram []byte) (c Cookie, err error) {
	if err := check(datagram, KindCookie, CookieSize); err != nil {
		return Cookie{}, err
	}
	if len(datagram) != CookieSize {
		return Cookie{}, ErrMalformed
	}
	c.Receiver = binary.LittleEndian.Uint32(datagram[offIndex:])
	copy(c.Nonce[:], datagram[8:])
	copy(c.Sealed[:], datagram[32:])
	return c, nil
}

// Sealed is the clear header of sealed frames.
type Sealed struct {
	Receiver uint32
	Counter  uint64 // never twice under one key
}

// Append appends the header to dst.
func (s Sealed) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindSealed, s.Receiver)
	return binary.LittleEndian.AppendUint64(dst, s.Counter)
}

// ParseSealed reads the header of a Sealed; sealed (frames and tag) aliases the datagram.
func ParseSealed(datagram []byte) (s Sealed, sealed []byte, err error) {
	if err := check(datagram, KindSealed, SealedSize+TagSize); err != nil {
		return Sealed{}, nil, err
	}
	s.Receiver = binary.LittleEndian.Uint32(datagram[offIndex:])
	s.Counter = binary.LittleEndian.Uint64(datagram[offCounter:])
	return s, datagram[SealedSize:], nil
}

// SealedFirst is the clear header of the first sealed frames of a resumed session. Every datagram carries it until the server has
// received one under the session keys, so that each of the first train can be opened although others are lost.
type SealedFirst struct {
	Receiver uint32
	Counter  uint64
	Index    uint32 // the server's
	Random   [ServerRandomSize]byte
	Server   [ServerIDSize]byte
}

// Append appends the header to dst.
func (s SealedFirst) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindSealedFirst, s.Receiver)
	dst = binary.LittleEndian.AppendUint64(dst, s.Counter)
	dst = binary.LittleEndian.AppendUint32(dst, s.Index)
	dst = append(dst, s.Random[:]...)
	return append(dst, s.Server[:]...)
}

// ParseSealedFirst reads the header of a SealedFirst; sealed (frames and tag) aliases the datagram.
func ParseSealedFirst(datagram []byte) (s SealedFirst, sealed []byte, err error) {
	if err := check(datagram, KindSealedFirst, SealedFirstSize+TagSize); err != nil {
		return SealedFirst{}, nil, err
	}
	s.Receiver = binary.LittleEndian.Uint32(datagram[offIndex:])
	s.Counter = binary.LittleEndian.Uint64(datagram[offCounter:])
	s.Index = binary.LittleEndian.Uint32(datagram[16:])
	copy(s.Random[:], datagram[20:])
	copy(s.Server[:], datagram[36:])
	return s, datagram[SealedFirstSize:], nil
}

// Resume is the clear header of a ticket flight.
type Resume struct {
	Index  uint32 // the target's
	Cipher Cipher
	Flags  uint8 // none yet; unknown ones are ignored
}

// ResumeBody is what follows the header of a Resume. All slices alias the datagram.
type ResumeBody struct {
	Ticket []byte
	Random [RandomSize]byte // the target's, fresh for each server and each content
	Sealed []byte           // frames and tag
	Clear  []byte           // everything before Sealed: the additional data of the seal
}

// AppendResumeHead appends header, ticket, random and the length of sealed frames of so many bytes (tag included) to dst.
// The sealed frames, padding and MACs follow.
func AppendResumeHead(dst []byte, r Resume, ticket []byte, random [RandomSize]byte, sealed int) []byte {
	dst = appendPrefix(dst, KindResume, r.Index)
	dst = append(dst, byte(r.Cipher), r.Flags)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(ticket)))
	dst = append(dst, ticket...)
	dst = append(dst, random[:]...)
	return binary.LittleEndian.AppendUint16(dst, uint16(sealed))
}

// ResumeRoom is how many bytes of frames a Resume of size bytes has room for, beside a ticket of so many bytes.
func ResumeRoom(size, ticket int) int { return max(0, size-resumeLeast-ticket) }

// ParseResume reads a Resume. Padding is not looked at, the MACs are checked by the caller.
func ParseResume(datagram []byte) (r Resume, body ResumeBody, err error) {
	if err := check(datagram, KindResume, FirstSize); err != nil {
		return Resume{}, ResumeBody{}, err
	}
	r.Index = binary.LittleEndian.Uint32(datagram[offIndex:])
	r.Cipher, r.Flags = Cipher(datagram[8]), datagram[9]
	ticket := int(binary.LittleEndian.Uint16(datagram[10:]))
	if ticket > MaxTicket {
		return Resume{}, ResumeBody{}, ErrMalformed
	}
	// A ticket of MaxTicket fits in FirstSize beside everything else, so up to the length field no bound can be crossed.
	at := ResumeSize + ticket
	body.Ticket = datagram[ResumeSize:at:at]
	copy(body.Random[:], datagram[at:])
	at += RandomSize
	sealed := int(binary.LittleEndian.Uint16(datagram[at:]))
	at += sealedLength
	if sealed < TagSize || at+sealed > len(datagram)-MACsSize {
		return Resume{}, ResumeBody{}, ErrMalformed
	}
	body.Clear = datagram[:at:at]
	body.Sealed = datagram[at : at+sealed : at+sealed]
	return r, body, nil
}

// HintCode says what an unsealed hint is about.
type HintCode uint8

// The hints. None of them ends, moves or refuses anything: they are shown, or answered by a probe.
const (
	HintVersion        HintCode = 1 // protocol versions do not overlap
	HintOtherFarm      HintCode = 2 // the farm key named is not of this farm
	HintUnknownSession HintCode = 3 // no session with that index, for example after a restart
	HintTicketRefused  HintCode = 4 // the ticket cannot be opened or was used
)

// String is the hint in words.
func (h HintCode) String() string {
	switch h {
	case HintVersion:
		return "protocol version not spoken"
	case HintOtherFarm:
		return "farm key of another farm"
	case HintUnknownSession:
		return "session not known"
	case HintTicketRefused:
		return "ticket refused"
	}
	return "hint " + strconv.Itoa(int(h))
}

// Hint is an unsealed answer, never longer than what it answers.
type Hint struct {
	// Receiver echoes the index in the datagram that is answered: the target's own for Hello and Resume, and for a sealed
	// datagram the one that it was addressed to, since a server that does not know the session knows no other.
	Receiver   uint32
	Hint       HintCode
	MinVersion uint8 // protocol versions that the server speaks
	MaxVersion uint8
	Counter    uint64 // of the sealed datagram that is answered, else 0
}

// Append appends the whole datagram to dst.
func (h Hint) Append(dst []byte) []byte {
	dst = appendPrefix(dst, KindHint, h.Receiver)
	dst = append(dst, byte(h.Hint), h.MinVersion, h.MaxVersion, 0)
	return binary.LittleEndian.AppendUint64(dst, h.Counter)
}

// ParseHint reads a Hint. One of another wire version is read too, as the version rule promises.
func ParseHint(datagram []byte) (h Hint, err error) {
	k, err := Peek(datagram)
	switch {
	case err != nil && !errors.Is(err, ErrVersion):
		return Hint{}, err
	case k != KindHint:
		return Hint{}, ErrKind
	case len(datagram) < HintSize:
		return Hint{}, ErrTruncated
	}
	h.Receiver = binary.LittleEndian.Uint32(datagram[offIndex:])
	h.Hint, h.MinVersion, h.MaxVersion = HintCode(datagram[8]), datagram[9], datagram[10]
	h.Counter = binary.LittleEndian.Uint64(datagram[offHintCount:])
	return h, nil
}
