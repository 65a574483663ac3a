package vdisk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

const (
	// DefaultChunkSize is that of a version that names none, in bytes. Twice as much makes sequential reads no faster
	// and costs a random read another 40 µs.
	DefaultChunkSize = 16 << 10
	// DefaultCodec is the codec to use where nobody has a reason for another. A target decodes s2 three times as
	// fast as zstd (1.55 against 0.56 GB/s a core at 16 KiB), and decoding is most of what a read costs it. On links
	// of 1 Gbit/s and less zstd brings a quarter more.
	DefaultCodec = tree.CodecS2Better
	// DefaultBootCodec is that of a version that machines boot: over links of 1 Gbit/s and less most of them, and all at the same
	// time in the morning. A Debian that boots takes 15.2 MB from the link in place of 19.7 with s2, and at 100 Mbit/s no longer,
	// even where decoding is emulated.
	DefaultBootCodec = tree.CodecZstd
	// DefaultSectorSize is that of a vDisk, in bytes, unless its image demands another.
	DefaultSectorSize = 512

	writeBuffer = 1 << 20
)

// WriteOptions describes a version that is to be written.
type WriteOptions struct {
	Name       string
	Number     uint32
	SectorSize uint32 // bytes; 0 means DefaultSectorSize
	ChunkSize  uint32 // bytes; 0 means DefaultChunkSize
	Codec      tree.Codec
	Who        string           // user and host, for the seal; cut at 128 bytes
	Program    string           // name and release of the program; cut at 64 bytes
	Now        func() time.Time // nil means time.Now
	Workers    int              // goroutines that compress; 0 means one for each CPU
	Boot       BootFiles        // what the version carries for booting; read by Commit

	files files // nil means the machine's
}

func (o *WriteOptions) fill() error {
	if o.SectorSize == 0 {
		o.SectorSize = DefaultSectorSize
	}
	if o.ChunkSize == 0 {
		o.ChunkSize = DefaultChunkSize
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.files == nil {
		o.files = system{}
	}
	if err := CheckName(o.Name); err != nil {
		return err
	}
	if o.Number > MaxNumber {
		return fmt.Errorf("version number %d: must be at most %d", o.Number, uint32(MaxNumber))
	}
	if err := o.Boot.check(); err != nil {
		return err
	}
	return tree.Shape{Size: int64(o.SectorSize), SectorSize: o.SectorSize, ChunkSize: o.ChunkSize}.Validate()
}

// Writer writes one version from front to back. Commit or Abort must end it; one goroutine uses it.
type Writer struct {
	options WriteOptions
	dir     string
	file    file
	buffer  *bufio.Writer
	pipe    *pipeline
	job     *job        // being filled, or nil
	size    int64       // bytes of the disk so far
	boot    []bootEntry // of the section that was written
	ended   bool
}

// Create begins a version in the folder dir. Nothing is seen of it there, but a temporary file, until Commit.
func Create(dir string, o WriteOptions) (*Writer, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	f, err := o.files.create(dir, FileName(o.Name, o.Number))
	if err != nil {
		return nil, fmt.Errorf("create %s version %d: %w", o.Name, o.Number, err)
	}
	w := &Writer{options: o, dir: dir, file: f, buffer: bufio.NewWriterSize(f, writeBuffer)}
	_, err = w.buffer.Write(make([]byte, dataStart)) // the header's place
	if err == nil {
		w.pipe, err = newPipeline(newAssembler(w.buffer), int(o.ChunkSize), o.Workers, o.Codec)
	}
	if err != nil {
		w.drop()
		return nil, w.wrap(err)
	}
	return w, nil
}

// wrap adds what was being done to an error.
func (w *Writer) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write %s version %d: %w", w.options.Name, w.options.Number, err)
}

// Size is the number of bytes of the disk that were given so far.
func (w *Writer) Size() int64 { return w.size }

// Stored is the number of bytes of the file that were written so far; it lags behind.
func (w *Writer) Stored() int64 { return w.pipe.assemble.written.Load() }

// Room gives memory to fill with the next bytes of the disk, at least one byte; Advance tells how many were.
// It is for readers that can do without a copy. It is valid until the next call of a method.
func (w *Writer) Room() []byte {
	if w.job == nil {
		w.job = w.pipe.next()
	}
	return w.job.data[len(w.job.data):cap(w.job.data)]
}

// Advance takes the first n bytes of what Room gave as the next bytes of the disk.
func (w *Writer) Advance(n int) error {
	if w.ended {
		return w.wrap(ErrClosed)
	}
	w.job.data = w.job.data[:len(w.job.data)+n]
	w.size += int64(n)
	if len(w.job.data) == cap(w.job.data) {
		w.submit()
	}
	return w.wrap(w.pipe.failure())
}

func (w *Writer) submit() {
	if w.job != nil {
		w.pipe.submit(w.job)
		w.job = nil
	}
}

// Write appends bytes of the disk.
func (w *Writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, w.wrap(ErrClosed)
	}
	written := 0
	for written < len(p) {
		n := copy(w.Room(), p[written:])
		written += n
		if err := w.Advance(n); err != nil {
			return written, err
		}
	}
	return written, nil
}

// Zero appends n zero bytes; whole chunks of them cost next to nothing.
func (w *Writer) Zero(n int64) error {
	if w.ended {
		return w.wrap(ErrClosed)
	}
	chunk := int64(w.options.ChunkSize)
	fill := func(n int64) error {
		for n > 0 {
			room := w.Room()
			k := min(n, int64(len(room)))
			clear(room[:k])
			if err := w.Advance(int(k)); err != nil {
				return err
			}
			n -= k
		}
		return nil
	}
	if start := w.size % chunk; start != 0 {
		k := min(n, chunk-start)
		if err := fill(k); err != nil {
			return err
		}
		n -= k
	}
	if whole := n - n%chunk; whole > 0 {
		w.submit()
		for left := whole; left > 0; left -= zeroJob {
			j := w.pipe.next()
			j.zero = min(left, zeroJob)
			w.pipe.submit(j)
		}
		w.size += whole
		n -= whole
	}
	if err := fill(n); err != nil {
		return err
	}
	return w.wrap(w.pipe.failure())
}

// Summary is what a finished version amounts to.
type Summary struct {
	Name      string
	Number    uint32
	Path      string
	Shape     tree.Shape
	ID        ID
	Logical   tree.Hash // BLAKE3-256 of the disk's bytes
	Codec     tree.Codec
	File      int64 // bytes of the file
	Stored    int64 // bytes of its stored chunks
	Chunks    int64
	Zeros     int64 // of them all zero
	Raws      int64 // of them stored as they are
	ZeroBytes int64 // bytes of the disk in zero chunks; the last chunk counts as full
	Boot      BootInfo
}

// Commit pads the disk with zeros to a whole sector, seals the version and gives it its name. Whatever goes
// wrong before that, nothing is left. When only making the name durable failed, the file stays and the error
// says so.
func (w *Writer) Commit() (*Summary, error) { return w.commit(context.Background()) }

// commit is Commit that ctx can end up to the moment at which the version gets its name.
func (w *Writer) commit(ctx context.Context) (*Summary, error) {
	if w.ended {
		return nil, w.wrap(ErrClosed)
	}
	if rest := w.size % int64(w.options.SectorSize); rest != 0 {
		if err := w.Zero(int64(w.options.SectorSize) - rest); err != nil {
			w.Abort()
			return nil, err
		}
	}
	if w.size == 0 {
		w.Abort()
		return nil, w.wrap(errors.New("the disk is empty"))
	}
	w.submit()
	w.ended = true
	err := w.pipe.wait()
	var s *seal
	if err == nil {
		s, err = w.seal(ctx)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err == nil {
		err = ctx.Err()
	}
	name := FileName(w.options.Name, w.options.Number)
	if err == nil {
		err = w.options.files.publish(w.file, name)
	}
	if err != nil {
		w.drop()
		return nil, w.wrap(err)
	}
	path := filepath.Join(w.dir, name)
	err = w.options.files.syncDir(w.dir)
	if cerr := w.file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, w.wrap(fmt.Errorf("%s is complete, but may be gone after a power failure: %w", path, err))
	}
	sum := summarize(path, s)
	sum.Boot = describeBoot(s.boot.digest, w.boot, w.options.Boot.CommandLine)
	return sum, nil
}

// writeBoot writes the boot section, if there is one, but for its table.
func (w *Writer) writeBoot(ctx context.Context) (bootPlace, error) {
	parts := w.options.Boot.parts()
	if len(parts) == 0 {
		return bootPlace{}, nil
	}
	a := w.pipe.assemble
	b, err := writeBoot(a, parts, ctx.Err)
	if err != nil {
		return bootPlace{}, err
	}
	w.boot = b.entries
	place := b.place()
	return place, a.pad()
}

// seal writes the boot section, both slots, and what could not be written before: the header and the table of the
// section. ctx can end it.
func (w *Writer) seal(ctx context.Context) (*seal, error) {
	a, o := w.pipe.assemble, &w.options
	top, err := a.finish()
	if err != nil {
		return nil, err
	}
	boot, err := w.writeBoot(ctx)
	if err != nil {
		return nil, err
	}
	now := o.Now().UnixNano()
	s := &seal{
		file: a.offset + slots*blockSize, stored: a.stored, zeros: a.zeros, raws: a.raws, top: a.top,
		written: now, who: cut(o.Who, maxWho), boot: boot,
		description: description{
			shape: tree.Shape{Size: w.size, SectorSize: o.SectorSize, ChunkSize: o.ChunkSize},
			name:  o.Name, number: o.Number, codec: o.Codec, program: cut(o.Program, maxProgram),
		},
	}
	if err := s.shape.Validate(); err != nil {
		return nil, err
	}
	s.id = ID{Root: s.shape.Root(top, boot.digest), Timestamp: now}
	w.pipe.hasher.Sum(s.logical[:0])
	for range slots {
		s.sequence++
		b := encodeSeal(s)
		// What cannot be read back must not be written.
		if _, err := parseSeal(b, s.file); err != nil {
			return nil, fmt.Errorf("own seal: %w", err)
		}
		if _, err := w.buffer.Write(b); err != nil {
			return nil, err
		}
	}
	if err := w.buffer.Flush(); err != nil {
		return nil, err
	}
	if len(w.boot) > 0 {
		if _, err := w.file.WriteAt(encodeBootTable(w.boot), boot.offset); err != nil {
			return nil, err
		}
	}
	_, err = w.file.WriteAt(encodeHeader(&s.description), 0)
	return s, err
}

func summarize(path string, s *seal) *Summary {
	return &Summary{
		Name: s.name, Number: s.number, Path: path, Shape: s.shape, ID: s.id, Logical: s.logical, Codec: s.codec,
		File: s.file, Stored: s.stored, Chunks: s.shape.Chunks(), Zeros: s.zeros, Raws: s.raws,
		ZeroBytes: min(s.zeros*int64(s.shape.ChunkSize), s.shape.Size),
	}
}

// Abort ends the writer and leaves nothing. After Commit or Abort it does nothing.
func (w *Writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	w.pipe.fail(io.ErrClosedPipe) // what is under way need not be written
	_ = w.pipe.wait()
	w.drop()
}

// drop removes the temporary file. What cannot be removed, the next import removes.
func (w *Writer) drop() {
	_ = w.options.files.remove(w.file.Name())
	w.file.Close()
}

// cut shortens s to at most n bytes.
func cut(s string, n int) string { return s[:min(len(s), n)] }
