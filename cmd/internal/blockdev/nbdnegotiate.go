package blockdev

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Bounds of the negotiation, which is with a client that has proven nothing yet.
const (
	maxOptions      = 256       // before a client must have chosen
	maxOptionData   = 16 << 10  // bytes of data of one option; more is answered "too big"
	maxOptionIgnore = 256 << 10 // bytes of data that are read and thrown away for that answer; more ends the connection
)

var (
	errLeft   = errors.New("the client left before it chose an export")
	errNotNBD = errors.New("the client does not speak NBD")
)

// export is what a client is told about the disk.
type export struct {
	name      string
	size      int64
	flags     uint16
	sizes     BlockSizes
	maximum   uint32 // bytes of payload of one request
	mapped    bool   // base:allocation can be offered
	readOnly  bool
	cacheable bool
}

// session is what client and server agreed on.
type session struct {
	structured bool
	allocation bool // base:allocation was chosen
}

// negotiation is the conversation before the first command.
type negotiation struct {
	in       *bufio.Reader
	out      io.Writer
	export   *export
	noZeroes bool
	agreed   session
	reply    []byte
}

// negotiate holds the conversation and says what was agreed; io.EOF and errLeft are no errors worth a line.
func negotiate(in *bufio.Reader, out io.Writer, e *export) (session, error) {
	n := &negotiation{in: in, out: out, export: e}
	hello := be.AppendUint64(nil, magicInit)
	hello = be.AppendUint64(hello, magicOption)
	hello = be.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := out.Write(hello); err != nil {
		return session{}, err
	}
	var flags [4]byte
	if _, err := io.ReadFull(in, flags[:]); err != nil {
		return session{}, err
	}
	chosen := be.Uint32(flags[:])
	if chosen&flagFixedNewstyle == 0 || chosen&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return session{}, fmt.Errorf("%w of our kind: flags %#x", errNotNBD, chosen)
	}
	n.noZeroes = chosen&flagNoZeroes != 0
	for range maxOptions {
		if done, err := n.option(); done || err != nil {
			return n.agreed, err
		}
	}
	return session{}, fmt.Errorf("the client chose no export in %d options", maxOptions)
}

// option answers one; true when the commands begin.
func (n *negotiation) option() (bool, error) {
	var header [optionHeaderSize]byte
	if _, err := io.ReadFull(n.in, header[:]); err != nil {
		return false, err
	}
	o, ok := parseOption(header[:])
	if !ok {
		return false, fmt.Errorf("%w: no option where one belongs", errNotNBD)
	}
	n.reply = n.reply[:0]
	if o.length > maxOptionData {
		if o.length > maxOptionIgnore || o.kind == optExportName {
			return false, fmt.Errorf("%w: an option of %d bytes", errNotNBD, o.length)
		}
		if _, err := n.in.Discard(int(o.length)); err != nil {
			return false, err
		}
		return false, n.answer(o.kind, repErrTooBig, nil)
	}
	data := make([]byte, o.length)
	if _, err := io.ReadFull(n.in, data); err != nil {
		return false, err
	}
	return n.decide(o.kind, data)
}

func (n *negotiation) decide(kind uint32, data []byte) (bool, error) {
	switch kind {
	case optExportName:
		return n.exportName(data)
	case optAbort:
		_ = n.answer(kind, repAck, nil) // the client may have closed already
		return false, errLeft
	case optList:
		if len(data) > 0 {
			return false, n.answer(kind, repErrInvalid, nil)
		}
		name := be.AppendUint32(nil, uint32(len(n.export.name)))
		n.reply = appendOptionReply(n.reply, kind, repServer, append(name, n.export.name...))
		return false, n.answer(kind, repAck, nil)
	case optInfo, optGo:
		return n.infoOrGo(kind, data)
	case optStructuredReply:
		if len(data) > 0 {
			return false, n.answer(kind, repErrInvalid, nil)
		}
		n.agreed.structured = true
		return false, n.answer(kind, repAck, nil)
	case optListMeta, optSetMeta:
		return false, n.meta(kind, data)
	}
	return false, n.answer(kind, repErrUnsup, nil)
}

// answer sends what is in reply and one more reply behind it.
func (n *negotiation) answer(kind, reply uint32, data []byte) error {
	n.reply = appendOptionReply(n.reply, kind, reply, data)
	_, err := n.out.Write(n.reply)
	return err
}

// ours says whether a client means our export: by its name, or by the empty name, which is the default export's.
func (n *negotiation) ours(name []byte) bool { return len(name) == 0 || string(name) == n.export.name }

func (n *negotiation) exportName(name []byte) (bool, error) {
	if !n.ours(name) {
		return false, fmt.Errorf("the client asked for the export %q; this one is %q", name, n.export.name)
	}
	n.reply = be.AppendUint64(n.reply, uint64(n.export.size))
	n.reply = be.AppendUint16(n.reply, n.transmission())
	if !n.noZeroes {
		n.reply = append(n.reply, make([]byte, exportNameZeroes)...)
	}
	_, err := n.out.Write(n.reply)
	return err == nil, err
}

// transmission is the export's flags, with those that depend on what was agreed.
func (n *negotiation) transmission() uint16 {
	if n.agreed.structured {
		return n.export.flags | exportDF
	}
	return n.export.flags
}

func (n *negotiation) infoOrGo(kind uint32, data []byte) (bool, error) {
	name, wanted, ok := parseInfo(data)
	if !ok {
		return false, n.answer(kind, repErrInvalid, []byte("the request does not parse"))
	}
	if !n.ours(name) {
		return false, n.answer(kind, repErrUnknown, []byte("there is no such export"))
	}
	info := be.AppendUint16(nil, infoExport)
	info = be.AppendUint64(info, uint64(n.export.size))
	info = be.AppendUint16(info, n.transmission())
	n.reply = appendOptionReply(n.reply, kind, repInfo, info)

	info = be.AppendUint16(info[:0], infoBlockSize)
	info = be.AppendUint32(info, n.export.sizes.Minimum)
	info = be.AppendUint32(info, n.export.sizes.Preferred)
	info = be.AppendUint32(info, n.export.maximum)
	n.reply = appendOptionReply(n.reply, kind, repInfo, info)

	for _, w := range wanted {
		if w == infoName {
			info = be.AppendUint16(info[:0], infoName)
			n.reply = appendOptionReply(n.reply, kind, repInfo, append(info, n.export.name...))
			break
		}
	}
	err := n.answer(kind, repAck, nil)
	return kind == optGo && err == nil, err
}

// meta lists or chooses metadata contexts; there is one.
func (n *negotiation) meta(kind uint32, data []byte) error {
	name, queries, ok := parseMeta(data)
	switch {
	case !ok:
		return n.answer(kind, repErrInvalid, []byte("the request does not parse"))
	case kind == optSetMeta && !n.agreed.structured:
		return n.answer(kind, repErrInvalid, []byte("structured replies come first"))
	case !n.ours(name):
		return n.answer(kind, repErrUnknown, []byte("there is no such export"))
	}
	found := kind == optListMeta && len(queries) == 0
	for _, q := range queries {
		namespace, leaf, _ := strings.Cut(string(q), ":")
		if string(q) == contextAllocation || kind == optListMeta && namespace == "base" && leaf == "" {
			found = true
		}
	}
	found = found && n.export.mapped
	if kind == optSetMeta {
		n.agreed.allocation = found
	}
	if found {
		id := uint32(0) // means nothing in a list
		if kind == optSetMeta {
			id = allocationID
		}
		n.reply = appendOptionReply(n.reply, kind, repMeta, append(be.AppendUint32(nil, id), contextAllocation...))
	}
	return n.answer(kind, repAck, nil)
}
