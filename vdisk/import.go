package vdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/vdisk/tree"
)

// Stages of an import, for Progress.
const (
	StageConvert = "convert" // a foreign format is turned into raw
	StageStore   = "store"   // the disk is read, compressed and stored
)

// ImportOptions says what to import and how.
type ImportOptions struct {
	Source     string     // path of an image or block device, or "-" for Input
	Input      io.Reader  // a raw image, up to its end; used with "-"; one read may still be under way when Import is interrupted
	Size       int64      // bytes that the disk must have; 0: whatever comes. The end of a stream says nothing of its wholeness
	Into       string     // folder of the store
	Name       string     // of the vDisk; empty: made of the image's file name
	NewVersion bool       // the vDisk may exist already, the image becomes its next version
	SectorSize uint32     // bytes; 0: that of a block device, else DefaultSectorSize
	ChunkSize  uint32     // bytes; 0: DefaultChunkSize
	Codec      tree.Codec // DefaultCodec is not the zero value, which compresses nothing
	Who        string     // user and host, for the seal
	Program    string
	Now        func() time.Time // nil means time.Now
	Workers    int              // 0 means one for each CPU
	Boot       BootFiles        // what the version carries for booting
	Progress   func(Progress)   // called from one goroutine, often; may be nil
	Warn       func(string)     // gets one sentence for each thing the person should know; may be nil

	files files
}

// Result is what an import amounts to.
type Result struct {
	Summary
	Format  Format
	Source  int64 // bytes of the image's disk before rounding up to whole sectors
	Seconds float64
}

// String tells the result in one line.
func (r *Result) String() string {
	if r.Seconds < 10 {
		return fmt.Sprintf("%v, %.1f s", &r.Summary, r.Seconds)
	}
	return fmt.Sprintf("%v, %.0f s", &r.Summary, r.Seconds)
}

// String tells what a version holds in one line.
func (s *Summary) String() string {
	sum := fmt.Sprintf("%s version %d: %s disk, %s stored", s.Name, s.Number, Bytes(s.Shape.Size), Bytes(s.Stored))
	zero := 100 * float64(s.ZeroBytes) / float64(s.Shape.Size)
	if s.Stored > 0 {
		sum += fmt.Sprintf(" (%.2fx, %.0f %% zeros)", float64(s.Shape.Size-s.ZeroBytes)/float64(s.Stored), zero)
	} else {
		sum += " (all zeros)"
	}
	if s.Boot.Kernel.Size > 0 {
		sum += ", boots with its own kernel"
	}
	return sum + ", root " + s.ID.Root.Short()
}

// Bytes tells a number of bytes with one decimal and a binary unit: "8.0 GiB".
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "KMGTPE"
	i := -1
	for f >= 1024 || f >= 1023.95 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// importer is one import under way.
type importer struct {
	ImportOptions
	size  int64 // of the disk in bytes, 0 where it is not known before its end
	fixed int64 // when not 0, the disk is the first bytes of the file only
	data  int64 // bytes of the image that are not holes, 0 where it is not known
}

// Import reads a disk image and adds it to a store, as one new version. It takes raw images by itself, from a
// file, a block device or a stream, and qcow2, VHD, VHDX, VMDK and VDI files through qemu-img. The disk is the
// image's, rounded up to whole sectors.
//
// It leaves the whole version or nothing, also when ctx ends it or the machine stops. It fails when the image
// changes while it is read. Whether a stream was whole when it ended only its producer knows: a caller that knows
// the size gives it.
func Import(ctx context.Context, o ImportOptions) (*Result, error) {
	began := time.Now()
	im := &importer{ImportOptions: o}
	if im.files == nil {
		im.files = system{}
	}
	if im.Name == "" {
		if im.Name = cleanName(im.Source); im.Source == "-" || im.Name == "" {
			return nil, errors.New("import: the vDisk needs a name, give it one")
		}
	}
	if err := errors.Join(CheckName(im.Name), im.Boot.check()); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	number, err := nextNumber(im.Into, im.Name, im.NewVersion)
	if err != nil {
		return nil, fmt.Errorf("import into %s: %w", im.Into, err)
	}
	removeLeftovers(im.Into)
	r, err := im.run(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", im.Source, err)
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// nextNumber finds the number for a new version of a vDisk.
func nextNumber(dir, name string, more bool) (uint32, error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("there is no such folder; make it first, the vDisk is to lie in it (mkdir -p %s): %w", quote(dir), err)
	}
	if err != nil {
		return 0, err
	}
	next := int64(0)
	for _, e := range all {
		if n, number, err := ParseFileName(e.Name()); err == nil && n == name {
			next = max(next, int64(number)+1)
		}
	}
	if next > 0 && !more {
		return 0, fmt.Errorf("vDisk %q %w, up to version %d; choose another name, or import it as version %d with --new-version",
			name, ErrExists, next-1, next)
	}
	if next > MaxNumber {
		return 0, fmt.Errorf("vDisk %q has no more version numbers", name)
	}
	return uint32(next), nil
}

func (im *importer) warn(format string, args ...any) {
	if im.Warn != nil {
		im.Warn(fmt.Sprintf(format, args...))
	}
}

func (im *importer) show(p Progress) {
	if im.Progress != nil {
		im.Progress(p)
	}
}

func (im *importer) run(ctx context.Context, number uint32) (*Result, error) {
	if im.Source == "-" {
		return im.stream(ctx, number)
	}
	f, err := os.Open(im.Source)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	before, err := stampOf(f)
	if err != nil {
		return nil, err
	}
	format, vhd, err := im.look(f)
	if err != nil {
		return nil, err
	}
	if who := inUse(f, im.Source); who != "" {
		im.warn("%s %s: if something writes to it now, the vDisk will be a mixture of before and after", im.Source, who)
	}
	unchanged := func() error {
		after, err := stampOf(f)
		if err == nil && after != before {
			err = errors.New("the image was changed while it was read; stop whatever writes to it, and import it again")
		}
		return err
	}
	if format == FormatRaw || format == FormatVPC && vhd.kind == vhdFixed {
		if err := im.measure(im.size); err != nil {
			return nil, err
		}
		return im.store(ctx, f, number, format, unchanged)
	}
	return im.foreign(ctx, number, format, vhd, unchanged)
}

// measure compares the size of the disk with the one that it must have.
func (im *importer) measure(size int64) error {
	if im.Size == 0 || size == im.Size {
		return nil
	}
	return fmt.Errorf("%w: the disk has %d bytes and should have %d; it was cut, or it is another image", ErrOtherSize, size, im.Size)
}

// look finds out what the image in f is.
func (im *importer) look(f *os.File) (Format, footer, error) {
	st, err := f.Stat()
	if err != nil {
		return "", footer{}, err
	}
	if st.IsDir() || st.Mode()&(os.ModeCharDevice|os.ModeNamedPipe|os.ModeSocket) != 0 {
		return "", footer{}, errors.New("is neither a file nor a block device; a pipe is imported as -")
	}
	if im.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return "", footer{}, err
	}
	if im.size == 0 {
		return "", footer{}, errors.New("is empty")
	}
	im.data = im.size
	if st.Mode()&os.ModeDevice != 0 {
		if im.SectorSize == 0 {
			im.SectorSize = deviceSector(f)
		}
		return FormatRaw, footer{}, nil
	}
	im.data = min(im.size, allocated(f))
	head, tail := make([]byte, probeHead), make([]byte, footerSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", footer{}, err
	}
	m, err := f.ReadAt(tail, max(0, im.size-footerSize))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", footer{}, err
	}
	format, err := detect(head[:n], tail[:m], im.size)
	if err == nil {
		err = named(im.Source, format)
	}
	if err != nil || format != FormatVPC {
		return format, footer{}, err
	}
	vhd, err := parseFooter(tail[:m])
	if err == nil && vhd.kind == vhdFixed {
		if vhd.size > im.size-footerSize {
			return "", footer{}, fmt.Errorf("is a VHD of %d bytes cut to %d", vhd.size, im.size-footerSize)
		}
		im.size, im.fixed = vhd.size, vhd.size
	}
	return format, vhd, err
}

// foreign converts an image to a temporary raw file beside the store and stores that.
func (im *importer) foreign(ctx context.Context, number uint32, format Format, vhd footer, unchanged func() error) (*Result, error) {
	image, err := lookForeign(ctx, im.Source, format, vhd)
	if err != nil {
		return nil, describeTool(err, format)
	}
	if err := im.measure(image.size); err != nil {
		return nil, err
	}
	if free, err := freeSpace(im.Into); err == nil && free < image.need {
		return nil, fmt.Errorf("%w in %s: the raw form of this %v image takes %s for a while, %s are free",
			ErrNoSpace, im.Into, format, Bytes(image.need), Bytes(free))
	}
	temp, err := im.files.create(im.Into, FileName(im.Name, number))
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = im.files.remove(temp.Name()) // the next import removes what is left
		temp.Close()
	}()
	if err := image.convert(ctx, temp.Name(), im.show); err != nil {
		return nil, describeTool(err, format)
	}
	if err := unchanged(); err != nil {
		return nil, err
	}
	raw, err := os.Open(temp.Name())
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	if im.size, err = raw.Seek(0, io.SeekEnd); err != nil {
		return nil, err
	}
	if im.size < image.size {
		return nil, fmt.Errorf("qemu-img gave %d bytes of a disk of %d", im.size, image.size)
	}
	im.size, im.data = image.size, min(image.size, allocated(raw))
	return im.store(ctx, raw, number, format, unchanged)
}

// describeTool says what an image is that qemu-img cannot read.
func describeTool(err error, format Format) error {
	var tool *toolError
	if errors.As(err, &tool) && strings.Contains(tool.said, "No space left") {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	if errors.As(err, &tool) {
		return fmt.Errorf("begins as a %v image and cannot be read as one, it may be cut or damaged: %w", format, err)
	}
	return err
}

// ErrOtherSize means that a disk does not have the size that it must have.
var ErrOtherSize = errors.New("wrong size")

// ErrNoSpace means that the file system of the store has no room for the version.
var ErrNoSpace = errors.New("not enough space")

// overhead is what the index of a version takes at most, in bytes for each chunk: an entry and a place, with
// their share of what is above them, and fixed blocks.
const (
	overheadChunk = 64
	overheadFile  = 64 << 10
)

// atMost is the size of the file in the worst case, that nothing can be compressed.
func (im *importer) atMost() int64 {
	chunk := int64(im.ChunkSize)
	if chunk == 0 {
		chunk = DefaultChunkSize
	}
	return im.data + (im.data/chunk+2)*overheadChunk + overheadFile + im.Boot.size()
}

// begin checks the room in the store and makes the writer.
func (im *importer) begin(number uint32) (*Writer, error) {
	if free, err := freeSpace(im.Into); err == nil && free < im.atMost() && im.data > 0 {
		im.warn("%s has %s free and the vDisk may take up to %s: if it does not fit, nothing is left behind",
			im.Into, Bytes(free), Bytes(im.atMost()))
	}
	return Create(im.Into, WriteOptions{
		Name: im.Name, Number: number, SectorSize: im.SectorSize, ChunkSize: im.ChunkSize, Codec: im.Codec,
		Who: im.Who, Program: im.Program, Now: im.Now, Workers: im.Workers, Boot: im.Boot,
		files: im.files,
	})
}

// store reads a raw disk from a seekable file and leaves its holes out.
func (im *importer) store(ctx context.Context, f *os.File, number uint32, format Format, unchanged func() error) (*Result, error) {
	w, err := im.begin(number)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	for at := int64(0); at < im.size; {
		start, end, err := nextData(f, at, im.size)
		if err == nil {
			err = im.hole(ctx, w, start-at)
		}
		if err == nil {
			err = im.copy(ctx, w, io.NewSectionReader(f, start, end-start), end-start)
		}
		if err != nil {
			return nil, im.explain(w, err)
		}
		at = end
	}
	if err := unchanged(); err != nil {
		return nil, err
	}
	return im.commit(ctx, w, format)
}

// hole appends n zero bytes, in steps, so that ctx can end it.
func (im *importer) hole(ctx context.Context, w *Writer, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := min(n, zeroJob)
		if err := w.Zero(k); err != nil {
			return err
		}
		n -= k
		im.show(Progress{Stage: StageStore, Done: w.Size(), Total: im.size, Stored: w.Stored()})
	}
	return nil
}

// copy moves n bytes, or all up to the end where n is negative, from r to w.
func (im *importer) copy(ctx context.Context, w *Writer, r io.Reader, n int64) error {
	for n != 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		room := w.Room()
		if n > 0 {
			room = room[:min(n, int64(len(room)))]
		}
		k, err := io.ReadFull(r, room)
		if werr := w.Advance(k); werr != nil {
			return werr
		}
		im.show(Progress{Stage: StageStore, Done: w.Size(), Total: im.size, Stored: w.Stored()})
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			if n > 0 {
				return errors.New("the image became shorter while it was read")
			}
			return nil
		}
		if err != nil {
			return err
		}
		if n > 0 {
			n -= int64(k)
		}
	}
	return nil
}

// commit seals what was written, unless ctx ended meanwhile.
func (im *importer) commit(ctx context.Context, w *Writer, format Format) (*Result, error) {
	r := &Result{Format: format, Source: w.Size()}
	s, err := w.commit(ctx)
	if err != nil {
		return nil, im.explain(w, err)
	}
	r.Summary = *s
	if r.Source != s.Shape.Size {
		im.warn("the disk has %d bytes and was rounded up to %d, a whole number of sectors%s", r.Source, s.Shape.Size,
			map[bool]string{true: "; a stream that ended too early looks like this"}[im.Source == "-"])
	}
	return r, nil
}

// guessFrom is how much of a disk must have been read before what is stored of it says how much more will be: some of
// what was read is still under way.
const guessFrom = 256 << 20

// explain says what a full store would have needed, going by what was stored so far.
func (im *importer) explain(w *Writer, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	done, stored := w.Size(), w.Stored()
	need := "more than " + Bytes(stored)
	if im.size > 0 && done > 0 {
		need = "about " + Bytes(int64(float64(stored)*float64(im.size)/float64(done)))
	}
	if im.size > 0 && done < guessFrom {
		need = "at most " + Bytes(im.atMost())
	}
	return fmt.Errorf("%w in %s: it was full at %s of the vDisk, %s of %s of the disk; %s are needed in all; nothing was left behind: %w",
		ErrNoSpace, im.Into, Bytes(stored), Bytes(done), Bytes(max(im.size, done)), need, err)
}
