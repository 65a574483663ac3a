package blockdev

import (
	"context"
	"encoding/binary"
	"errors"
	"syscall"
)

// Numbers of the NBD protocol, big-endian on the wire.
const (
	magicInit        = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption      = 0x49484156454f5054 // "IHAVEOPT"
	magicOptionReply = 0x0003e889045565a9
	magicRequest     = 0x25609513
	magicSimple      = 0x67446698
	magicStructured  = 0x668e33ef

	flagFixedNewstyle = 1 << 0 // handshake flags, both sides
	flagNoZeroes      = 1 << 1

	optExportName      = 1
	optAbort           = 2
	optList            = 3
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMeta        = 9
	optSetMeta         = 10

	repAck         = 1
	repServer      = 2
	repInfo        = 3
	repMeta        = 4
	repErrUnsup    = 1<<31 + 1
	repErrPolicy   = 1<<31 + 2
	repErrInvalid  = 1<<31 + 3
	repErrUnknown  = 1<<31 + 6
	repErrShutdown = 1<<31 + 7
	repErrTooBig   = 1<<31 + 9

	infoExport    = 0
	infoName      = 1
	infoBlockSize = 3

	exportHasFlags     = 1 << 0 // transmission flags
	exportReadOnly     = 1 << 1
	exportFlush        = 1 << 2
	exportFUA          = 1 << 3
	exportTrim         = 1 << 5
	exportWriteZeroes  = 1 << 6
	exportDF           = 1 << 7
	exportMultiConn    = 1 << 8
	exportCache        = 1 << 10
	exportNameZeroes   = 124 // bytes of padding that old clients want
	contextAllocation  = "base:allocation"
	allocationID       = 1
	allocationHoleZero = 1 | 2

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisc        = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdCache       = 5
	cmdWriteZeroes = 6
	cmdBlockStatus = 7

	cmdFlagFUA    = 1 << 0
	cmdFlagNoHole = 1 << 1
	cmdFlagDF     = 1 << 2
	cmdFlagReqOne = 1 << 3

	chunkDone        = 1 << 0 // flag of a structured reply chunk
	chunkNone        = 0
	chunkOffsetData  = 1
	chunkBlockStatus = 5
	chunkError       = 1<<15 + 1

	nbdEPERM     = 1
	nbdEIO       = 5
	nbdENOMEM    = 12
	nbdEINVAL    = 22
	nbdENOSPC    = 28
	nbdENOTSUP   = 95
	nbdESHUTDOWN = 108
)

// Sizes of the protocol's fixed parts, in bytes.
const (
	optionHeaderSize  = 16
	requestSize       = 28
	simpleHeaderSize  = 16
	chunkHeaderSize   = 20
	offsetDataSize    = chunkHeaderSize + 8
	statusHeaderSize  = chunkHeaderSize + 4
	extentSize        = 8
	maxErrorText      = 256
	errorReplyMaxSize = chunkHeaderSize + 6 + maxErrorText
)

var be = binary.BigEndian

// option is the header of what a client asks for before it chooses an export.
type option struct {
	kind   uint32
	length uint32 // of the data that follows
}

// parseOption reads the header of an option; b has optionHeaderSize bytes. False means that this is no NBD client.
func parseOption(b []byte) (option, bool) {
	return option{be.Uint32(b[8:]), be.Uint32(b[12:])}, be.Uint64(b) == magicOption
}

// request is the header of a command.
type request struct {
	flags  uint16
	kind   uint16
	cookie uint64
	off    uint64
	length uint32
}

// parseRequest reads the header of a command; b has requestSize bytes. False means that the stream is out of step.
func parseRequest(b []byte) (request, bool) {
	return request{
		flags:  be.Uint16(b[4:]),
		kind:   be.Uint16(b[6:]),
		cookie: be.Uint64(b[8:]),
		off:    be.Uint64(b[16:]),
		length: be.Uint32(b[24:]),
	}, be.Uint32(b) == magicRequest
}

// parseInfo reads the data of INFO and GO. The result aliases b.
func parseInfo(b []byte) (name []byte, wanted []uint16, ok bool) {
	name, b, ok = cutString(b)
	if !ok || len(b) < 2 {
		return nil, nil, false
	}
	n := int(be.Uint16(b))
	if b = b[2:]; len(b) != 2*n {
		return nil, nil, false
	}
	for ; len(b) > 0; b = b[2:] {
		wanted = append(wanted, be.Uint16(b))
	}
	return name, wanted, true
}

// parseMeta reads the data of LIST_META_CONTEXT and SET_META_CONTEXT. The results alias b.
func parseMeta(b []byte) (name []byte, queries [][]byte, ok bool) {
	name, b, ok = cutString(b)
	if !ok || len(b) < 4 {
		return nil, nil, false
	}
	n := be.Uint32(b)
	b = b[4:]
	for ; n > 0; n-- {
		var q []byte
		if q, b, ok = cutString(b); !ok {
			return nil, nil, false
		}
		queries = append(queries, q)
	}
	return name, queries, len(b) == 0
}

func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := be.Uint32(b)
	if b = b[4:]; uint64(n) > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

func appendOptionReply(dst []byte, kind, reply uint32, data []byte) []byte {
	dst = be.AppendUint64(dst, magicOptionReply)
	dst = be.AppendUint32(dst, kind)
	dst = be.AppendUint32(dst, reply)
	dst = be.AppendUint32(dst, uint32(len(data)))
	return append(dst, data...)
}

func appendSimple(dst []byte, cookie uint64, errno uint32) []byte {
	dst = be.AppendUint32(dst, magicSimple)
	dst = be.AppendUint32(dst, errno)
	return be.AppendUint64(dst, cookie)
}

// appendChunk appends the header of the only, and so last, chunk of a structured reply.
func appendChunk(dst []byte, cookie uint64, kind uint16, length int) []byte {
	dst = be.AppendUint32(dst, magicStructured)
	dst = be.AppendUint16(dst, chunkDone)
	dst = be.AppendUint16(dst, kind)
	dst = be.AppendUint64(dst, cookie)
	return be.AppendUint32(dst, uint32(length))
}

func appendErrorChunk(dst []byte, cookie uint64, errno uint32, text string) []byte {
	text = text[:min(len(text), maxErrorText)]
	dst = appendChunk(dst, cookie, chunkError, 6+len(text))
	dst = be.AppendUint32(dst, errno)
	dst = be.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

// errnoOf is the protocol's number for what a Device said.
func errnoOf(err error) uint32 {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ErrReadOnly):
		return nbdEPERM
	case errors.Is(err, ErrRange):
		return nbdEINVAL
	case errors.Is(err, ErrNoSpace):
		return nbdENOSPC
	case errors.Is(err, ErrUnsupported):
		return nbdENOTSUP
	case errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		return nbdESHUTDOWN
	case errors.As(err, &errno):
		switch errno {
		case syscall.EPERM, syscall.EACCES, syscall.EROFS:
			return nbdEPERM
		case syscall.ENOMEM:
			return nbdENOMEM
		case syscall.ENOSPC, syscall.EDQUOT:
			return nbdENOSPC
		case syscall.EINVAL:
			return nbdEINVAL
		}
	}
	return nbdEIO
}
