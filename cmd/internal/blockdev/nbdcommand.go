package blockdev

import (
	"errors"
	"fmt"
)

const (
	// maxExtents bounds one answer to BLOCK_STATUS; the client asks again for the rest.
	maxExtents = 1024
	// maxInline is the most bytes that are copied before the next request is read.
	maxInline = 128 << 10
	// commandFlags are the flags of all commands that we know.
	commandFlags = cmdFlagFUA | cmdFlagNoHole | cmdFlagDF | cmdFlagReqOne
)

// errRequest says that a request breaks the protocol or what was agreed.
var errRequest = errors.New("the request is not allowed")

// check refuses what the device must not see.
func (c *connection) check(cmd *command) error {
	e := &c.server.export
	allowed := uint16(0)
	writes := false
	switch cmd.kind {
	case cmdRead:
		if c.agreed.structured {
			allowed = cmdFlagDF
		}
	case cmdWrite:
		allowed, writes = cmdFlagFUA, true
	case cmdTrim:
		allowed, writes = cmdFlagFUA, true
	case cmdWriteZeroes:
		allowed, writes = cmdFlagFUA|cmdFlagNoHole, true
	case cmdBlockStatus:
		if !c.agreed.allocation || cmd.length == 0 {
			return fmt.Errorf("block status of %d bytes: %w", cmd.length, errRequest)
		}
		allowed = cmdFlagReqOne
	case cmdCache:
		if !e.cacheable {
			return fmt.Errorf("cache: %w", errRequest)
		}
	case cmdFlush:
		return nil
	default:
		return fmt.Errorf("command %d: %w", cmd.kind, errRequest)
	}
	switch {
	case cmd.flags&commandFlags&^(allowed|cmdFlagFUA) != 0 || cmd.flags&^commandFlags != 0:
		return fmt.Errorf("command %d with flags %#x: %w", cmd.kind, cmd.flags, errRequest)
	case writes && e.readOnly:
		return ErrReadOnly
	case (cmd.kind == cmdRead || cmd.kind == cmdWrite) && cmd.length > MaxRequest:
		return fmt.Errorf("%d bytes, the most are %d: %w", cmd.length, MaxRequest, errRequest)
	case cmd.off > uint64(e.size) || uint64(cmd.length) > uint64(e.size)-cmd.off:
		if cmd.kind == cmdWrite || cmd.kind == cmdWriteZeroes {
			return fmt.Errorf("%d bytes at %d of %d: %w", cmd.length, cmd.off, e.size, ErrNoSpace)
		}
		return fmt.Errorf("%d bytes at %d of %d: %w", cmd.length, cmd.off, e.size, ErrRange)
	case (cmd.off|uint64(cmd.length))&uint64(e.sizes.Minimum-1) != 0:
		return fmt.Errorf("%d bytes at %d are no multiples of %d: %w", cmd.length, cmd.off, e.sizes.Minimum, errRequest)
	}
	return nil
}

// immediate answers a command if nothing in it can wait or takes long, and says whether it did.
func (c *connection) immediate(cmd *command) bool {
	if err := c.check(cmd); err != nil {
		c.fail(cmd, err)
		return true
	}
	if cmd.length > maxInline {
		return false
	}
	switch cmd.kind {
	case cmdRead:
		if r := c.server.tryReader; r != nil && r.TryReadAt(cmd.payload.bytes, int64(cmd.off)) {
			c.succeed(cmd)
			return true
		}
	case cmdWrite:
		if w := c.server.tryWriter; w != nil && cmd.flags&cmdFlagFUA == 0 && w.TryWriteAt(cmd.payload.bytes, int64(cmd.off)) {
			c.succeed(cmd)
			return true
		}
	}
	return false
}

// execute has the device do what cmd says, and forms the reply. It may wait.
func (c *connection) execute(cmd *command) {
	var err error
	off, length := int64(cmd.off), int64(cmd.length)
	switch cmd.kind {
	case cmdRead:
		err = c.device.ReadAt(c.ctx, cmd.payload.bytes, off)
	case cmdWrite:
		err = c.device.WriteAt(c.ctx, cmd.payload.bytes, off)
	case cmdTrim:
		err = c.device.Trim(c.ctx, off, length)
	case cmdWriteZeroes:
		err = c.device.WriteZeroes(c.ctx, off, length)
	case cmdFlush:
		err = c.device.Flush(c.ctx)
	case cmdCache:
		err = c.server.prefetcher.Prefetch(c.ctx, off, length)
	case cmdBlockStatus:
		if err = c.blockStatus(cmd, off, length); err == nil {
			c.server.stats.requests.Add(1)
			return
		}
	}
	if err == nil && cmd.flags&cmdFlagFUA != 0 && (cmd.kind == cmdWrite || cmd.kind == cmdTrim || cmd.kind == cmdWriteZeroes) {
		err = c.device.Flush(c.ctx)
	}
	if err != nil {
		c.fail(cmd, err)
		return
	}
	c.succeed(cmd)
}

// succeed forms the reply of a command that worked.
func (c *connection) succeed(cmd *command) {
	c.server.stats.requests.Add(1)
	switch {
	case cmd.kind == cmdRead && c.agreed.structured && cmd.length > 0:
		c.server.stats.readBytes.Add(uint64(cmd.length))
		cmd.head = appendChunk(cmd.head[:0], cmd.cookie, chunkOffsetData, 8+int(cmd.length))
		cmd.head = be.AppendUint64(cmd.head, cmd.off)
		cmd.send = cmd.payload.bytes
	case cmd.kind == cmdRead && c.agreed.structured:
		cmd.head = appendChunk(cmd.head[:0], cmd.cookie, chunkNone, 0)
	case cmd.kind == cmdRead:
		c.server.stats.readBytes.Add(uint64(cmd.length))
		cmd.head = appendSimple(cmd.head[:0], cmd.cookie, 0)
		cmd.send = cmd.payload.bytes
	default:
		switch cmd.kind {
		case cmdWrite:
			c.server.stats.writeBytes.Add(uint64(cmd.length))
		case cmdTrim, cmdWriteZeroes:
			c.server.stats.zeroBytes.Add(uint64(cmd.length))
		}
		cmd.head = appendSimple(cmd.head[:0], cmd.cookie, 0)
	}
}

// fail forms the reply of a command that did not work.
func (c *connection) fail(cmd *command, err error) {
	c.server.stats.requests.Add(1)
	errno := errnoOf(err)
	if errors.Is(err, errRequest) {
		errno = nbdEINVAL
	} else if errno != nbdESHUTDOWN {
		c.server.failed(cmd, err)
	}
	cmd.send = nil
	if c.agreed.structured {
		cmd.head = appendErrorChunk(cmd.head[:0], cmd.cookie, errno, err.Error())
		return
	}
	cmd.head = appendSimple(cmd.head[:0], cmd.cookie, errno)
}

// blockStatus forms the reply that tells where the range is zero.
func (c *connection) blockStatus(cmd *command, off, length int64) error {
	type run struct {
		length int64
		zero   bool
	}
	runs := make([]run, 0, 16)
	for left := length; left > 0; {
		n, zero, err := c.server.mapper.Extent(c.ctx, off, left)
		if err != nil {
			return err
		}
		if n <= 0 || n > left {
			return fmt.Errorf("the device describes %d of %d bytes at %d", n, left, off)
		}
		if last := len(runs) - 1; last >= 0 && runs[last].zero == zero {
			runs[last].length += n
		} else if len(runs) == maxExtents || len(runs) == 1 && cmd.flags&cmdFlagReqOne != 0 {
			break
		} else {
			runs = append(runs, run{n, zero})
		}
		off, left = off+n, left-n
	}
	cmd.head = appendChunk(cmd.head[:0], cmd.cookie, chunkBlockStatus, 4+extentSize*len(runs))
	cmd.head = be.AppendUint32(cmd.head, allocationID)
	for _, r := range runs {
		flags := uint32(0)
		if r.zero {
			flags = allocationHoleZero
		}
		cmd.head = be.AppendUint32(be.AppendUint32(cmd.head, uint32(r.length)), flags)
	}
	return nil
}
