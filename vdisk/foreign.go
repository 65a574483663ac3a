package vdisk

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoTool means that a program is missing that an import needs.
var ErrNoTool = errors.New("a program is missing")

const (
	qemuImg        = "qemu-img"
	maxToolMessage = 4 << 10
	maxToolAnswer  = 16 << 20
)

// foreign is an image in a format that qemu-img reads for us.
type foreign struct {
	path   string // absolute, so that qemu-img does not take a colon in it for a protocol
	format Format
	size   int64 // of the disk in bytes
	need   int64 // bytes that its raw form takes on disk, holes left out
}

// imageInfo is what we use of the answer of "qemu-img info --output=json".
type imageInfo struct {
	VirtualSize int64  `json:"virtual-size"`
	Backing     string `json:"backing-filename"`
	FullBacking string `json:"full-backing-filename"`
	Encrypted   bool   `json:"encrypted"`
	Specific    struct {
		Data struct {
			DataFile string `json:"data-file"`
			Corrupt  bool   `json:"corrupt"`
			Extents  []struct {
				Filename string `json:"filename"`
			} `json:"extents"`
		} `json:"data"`
	} `json:"format-specific"`
}

// lookForeign asks qemu-img about an image and refuses what is not one self-contained, plain image: a file
// that names others would have us read any file of this machine.
func lookForeign(ctx context.Context, path string, format Format, vhd footer) (*foreign, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if format == FormatVPC && vhd.kind == vhdDifferencing {
		return nil, errors.New("is a differencing VHD, it needs its parent; merge them first")
	}
	f := &foreign{path: abs, format: format}
	answer, err := runTool(ctx, nil, "info", "-U", "--output=json", "--image-opts", f.options())
	if err != nil {
		return nil, err
	}
	var info imageInfo
	if err := json.Unmarshal(answer, &info); err != nil {
		return nil, fmt.Errorf("answer of %s info: %w", qemuImg, err)
	}
	if err := f.check(&info); err != nil {
		return nil, err
	}
	if err := f.whole(ctx); err != nil {
		return nil, err
	}
	f.size, f.need = info.VirtualSize, info.VirtualSize
	if format == FormatVPC {
		f.size = vhd.size
	}
	var measure struct {
		Required int64 `json:"required"`
	}
	if answer, err := runTool(ctx, nil, "measure", "-U", "--output=json", "-O", "raw", "--image-opts", f.options()); err == nil {
		if json.Unmarshal(answer, &measure) == nil && measure.Required > 0 {
			f.need = min(f.need, measure.Required)
		}
	}
	return f, nil
}

// check refuses images that are not whole in themselves.
func (f *foreign) check(info *imageInfo) error {
	data := &info.Specific.Data
	switch {
	case info.Backing != "" || info.FullBacking != "":
		return fmt.Errorf("has the backing file %q; make one image of both first: qemu-img convert -O qcow2 IMAGE NEW", info.Backing)
	case data.DataFile != "":
		return fmt.Errorf("keeps its data in another file, %q; make one image of both first: qemu-img convert -O qcow2 IMAGE NEW",
			data.DataFile)
	case info.Encrypted:
		return errors.New("is encrypted; decrypt it first")
	case data.Corrupt:
		return errors.New("is marked corrupt; repair it first: qemu-img check -r all IMAGE")
	case info.VirtualSize <= 0:
		return errors.New("holds a disk of no bytes")
	}
	own, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	for _, e := range data.Extents {
		if st, err := os.Stat(e.Filename); err != nil || !os.SameFile(own, st) {
			return fmt.Errorf("keeps its data in another file, %q; make one image of both first: qemu-img convert -O qcow2 IMAGE NEW",
				e.Filename)
		}
	}
	return nil
}

// whole refuses an image whose own tables say that it is damaged or cut. Without it qemu-img would read zeros
// where the file has ended.
func (f *foreign) whole(ctx context.Context) error {
	if f.format == FormatVDI {
		return wholeVDI(f.path)
	}
	if f.format == FormatQcow2 {
		if err := f.wholeTables(); err != nil {
			return err
		}
	}
	_, err := runTool(ctx, nil, "check", "-U", "--image-opts", f.options())
	var tool *toolError
	if errors.As(err, &tool) && (tool.code == checkLeaks || tool.code == checkUnknown) {
		return nil
	}
	return err
}

// wholeTables looks at the tables of a qcow2 image.
func (f *foreign) wholeTables() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	return wholeQcow2(file, size)
}

// Exit codes of "qemu-img check": space that is lost but no data; a format that it cannot check, as VHD, where
// the footer at the end shows that the file was not cut.
const (
	checkLeaks   = 3
	checkUnknown = 63
)

// wholeVDI does for VDI what "qemu-img check" leaves out: the file must be as long as its header says.
func wholeVDI(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 0x188)
	if _, err := f.ReadAt(head, 0); err != nil {
		return &toolError{"", 1, "the header of the VDI is cut"}
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	data, block, blocks := int64(le.Uint32(head[0x158:])), int64(le.Uint32(head[0x178:])), int64(le.Uint32(head[0x184:]))
	if want := data + block*blocks; want > size {
		return &toolError{"", 1, fmt.Sprintf("the VDI has %d bytes, its header says %d", size, want)}
	}
	return nil
}

// options names the image to qemu-img, with its format, so that nothing is guessed from its bytes.
func (f *foreign) options() string {
	o := "driver=" + string(f.format) + ",file.driver=file,file.filename=" + strings.ReplaceAll(f.path, ",", ",,")
	if f.format == FormatVPC {
		// By default the size may come from cylinders, heads and sectors, and the end of the disk would be lost.
		o += ",force_size_calc=current_size"
	}
	return o
}

// convert writes the disk to the file at path, raw, with holes. qemu-img can write raw to a seekable file
// only; a sparse temporary file beside the store costs disk space for a while, and needs neither a second
// protocol nor a process that serves one.
func (f *foreign) convert(ctx context.Context, path string, progress func(Progress)) error {
	show := func(line []byte) {
		// "    (12.34/100%)"
		text := strings.TrimSpace(string(line))
		text, ok := strings.CutPrefix(text, "(")
		text, ok2 := strings.CutSuffix(text, "/100%)")
		percent, err := strconv.ParseFloat(text, 64)
		if ok && ok2 && err == nil && progress != nil {
			progress(Progress{Stage: StageConvert, Done: int64(percent / 100 * float64(f.size)), Total: f.size})
		}
	}
	_, err := runTool(ctx, show, "convert", "-U", "-p", "-O", "raw", "-S", "4k", "--image-opts", f.options(), path)
	return err
}

// limited keeps the first bytes that are written to it.
type limited struct {
	bytes.Buffer
	max int
}

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(0, l.max-l.Len()))])
	return len(p), nil
}

// lines gives what is written to it to show, cut at carriage returns and line ends.
type lines struct {
	show func([]byte)
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\r' || c == '\n' {
			l.show(l.rest)
			l.rest = l.rest[:0]
		} else if len(l.rest) < maxToolMessage {
			l.rest = append(l.rest, c)
		}
	}
	return len(p), nil
}

// runTool runs qemu-img and gives what it says; with show, what it says goes there instead.
func runTool(ctx context.Context, show func([]byte), args ...string) ([]byte, error) {
	path, err := exec.LookPath(qemuImg)
	if err != nil {
		return nil, fmt.Errorf("%w: %s, which reads this format; install the Debian package qemu-utils", ErrNoTool, qemuImg)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, message := &limited{max: maxToolAnswer}, &limited{max: maxToolMessage}
	cmd.Stdout, cmd.Stderr = io.Writer(out), message
	if show != nil {
		cmd.Stdout = &lines{show: show}
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		said := strings.TrimSpace(message.String())
		if said == "" {
			said = err.Error()
		}
		return nil, &toolError{args[0], cmd.ProcessState.ExitCode(), said}
	}
	return out.Bytes(), nil
}

// toolError is what qemu-img complained of.
type toolError struct {
	command string // empty: we found it ourselves
	code    int
	said    string
}

// Error gives the first line of what it said; the others say the same of other places.
func (e *toolError) Error() string {
	first, _, more := strings.Cut(e.said, "\n")
	if more {
		first += " …"
	}
	if e.command == "" {
		return first
	}
	return qemuImg + " " + e.command + ": " + first
}
