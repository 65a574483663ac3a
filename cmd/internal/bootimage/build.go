package bootimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// Options say what goes into a boot image. Either Modules or KernelPackage is needed, and Out.
type Options struct {
	// Modules is a folder with modules, as FindKernels takes it; KernelPackage is a file .deb.
	Modules, KernelPackage string
	// KernelVersion chooses one of several kernels.
	KernelVersion string
	// Init is the program spate-target; empty: the one beside this program.
	Init string
	// FileSystems and Cards are modules in place of StandardFileSystems and StandardCards when they are not nil; each must
	// be there. MoreModules must be there too.
	FileSystems, Cards, MoreModules []string
	// AllNetwork adds all Ethernet cards that the kernel has.
	AllNetwork bool
	// Firmware is a folder such as /lib/firmware; empty: none is taken.
	Firmware string
	// Add are further files.
	Add []Extra
	// Plain leaves the archive unpacked.
	Plain bool
	// Out is the image to write, KernelOut a copy of the kernel beside it; empty: none. Files of these names are replaced.
	Out, KernelOut string
	// Progress is told how far the work is, often; nil: nobody is.
	Progress func(Progress)
}

// Extra is a file or a folder of this machine that is put into the image, below Target.
type Extra struct{ Source, Target string }

// Progress is how far the work is, in bytes. Total is 0 where it is not known.
type Progress struct {
	Stage       string
	Done, Total int64
}

// Stages of Progress.
const (
	StageUnpack = "reading the package"
	StageGather = "reading modules"
	StageWrite  = "writing the image"
)

// Report says what went into an image.
type Report struct {
	Path string
	// Bytes is the size of the image, Unpacked that of the archive.
	Bytes, Unpacked int64
	Kernel          string // version
	// KernelFile is where the kernel lies that belongs to it; empty for none. It is gone already when it came out of a
	// package and no KernelOut was asked for.
	KernelFile string
	Init       string
	// Parts is nil when the image is not divided, for the reason in Whole.
	Parts   *Parts
	Whole   string
	Modules []ModuleReport
	Files   []Entry
	// BuiltIn needed no module, Absent are standard modules that the kernel does not have.
	BuiltIn, Absent []string
	// MissingFirmware is what the modules may ask for and the folder does not have.
	MissingFirmware []string
}

// ModuleReport says why a module is in the image.
type ModuleReport struct {
	Name string
	// Group is always, file system, by device, or needed by another one.
	Group string
	// Part is 1 or 2.
	Part   int
	Bytes  int64
	Signed bool
}

// Build makes a boot image. It leaves the whole files or none.
func Build(ctx context.Context, o Options) (*Report, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if (o.Modules == "") == (o.KernelPackage == "") {
		return nil, errors.New("a boot image needs either a folder with kernel modules or a kernel's package")
	}
	if err := complaints(o.Problems()); err != nil {
		return nil, err
	}
	init, initPath, err := readInit(o.Init)
	if err != nil {
		return nil, err
	}
	dir := o.Modules
	if o.KernelPackage != "" {
		if dir, err = os.MkdirTemp("", "spate-kernel-"); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		err := unpackDeb(ctx, o.KernelPackage, dir, func(done, total int64) { o.Progress(Progress{StageUnpack, done, total}) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.KernelPackage, err)
		}
	}
	kernel, err := o.kernel(dir)
	if err != nil {
		return nil, err
	}
	r := &Report{Path: o.Out, Kernel: kernel.Version, KernelFile: kernel.File, Init: initPath}
	d, err := o.gather(ctx, kernel, init, r)
	if err != nil {
		return nil, err
	}
	return r, o.write(ctx, d, kernel, r)
}

// kernel finds the one whose modules are taken.
func (o Options) kernel(dir string) (Kernel, error) {
	all, err := FindKernels(dir)
	if err != nil {
		if o.KernelPackage != "" {
			return Kernel{}, fmt.Errorf("%s is not the package of a kernel: no modules in it (linux-image-amd64 only names the package that has them)", o.KernelPackage)
		}
		return Kernel{}, err
	}
	k, err := PickKernel(all, o.KernelVersion, false)
	if err == nil && o.KernelOut != "" && k.File == "" {
		err = fmt.Errorf("no kernel %s beside its modules; looked for %s", k.Version, strings.Join(k.Looked, ", "))
	}
	return k, err
}

// initName is the program that becomes init.
const initName = "spate-target"

// readInit reads the program that becomes /init.
func readInit(file string) ([]byte, string, error) {
	if file == "" {
		own, err := os.Executable()
		if err != nil {
			return nil, "", err
		}
		file = filepath.Join(filepath.Dir(own), initName)
	}
	b, err := readFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, "", fmt.Errorf("the program that becomes /init is missing: %s; say where it is with --init", file)
	case err != nil:
		return nil, "", err
	}
	return b, file, checkStatic(file, b)
}

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readBounded(f, maxExtra)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return b, nil
}

// gather puts the contents together.
func (o Options) gather(ctx context.Context, k Kernel, init []byte, r *Report) (d divided, err error) {
	x, err := newIndex(k.Modules)
	if err != nil {
		return d, err
	}
	bytes := int64(0)
	p, err := choose(x, o, func(string) error {
		o.Progress(Progress{Stage: StageGather, Done: bytes})
		return ctx.Err()
	})
	if err != nil {
		return d, fmt.Errorf("kernel %s: %w", k.Version, err)
	}
	d = divided{first: contents{}, second: contents{}}
	first := d.divide(p, r)
	for _, folder := range []string{"dev", "etc", "newroot", "proc", "root", "run", "sys", "tmp"} {
		d.first.folder(folder)
	}
	d.first.device("dev/console", 0o600, 5, 1)
	d.first.file("init", 0o755, init)
	if err := d.modules(p, first, k, r); err != nil {
		return d, err
	}
	if o.Firmware != "" {
		if err := p.firmware(d, first, o.Firmware, r); err != nil {
			return d, err
		}
	}
	for _, e := range o.Add {
		if err := d.first.extra(e); err != nil {
			return d, fmt.Errorf("add %s: %w", e.Source, err)
		}
	}
	d.once()
	r.BuiltIn, r.Absent = p.builtIn, p.absent
	r.Files, err = d.entries()
	return d, err
}

// modules adds them to their parts, with the lists of them: that of the second part has all, and replaces that of the first.
func (d divided) modules(p *picker, first map[string]bool, k Kernel, r *Report) error {
	list := p.list(k.Version, "/lib/modules/"+k.Version, nil)
	for _, m := range list.Modules {
		found := p.found[m.Name]
		if found.info.kernel != k.Version {
			return fmt.Errorf("module %s in %s is made for kernel %q: the folder must have the name of the kernel's version", m.Name, k.Modules, found.info.kernel)
		}
		part := d.part(first[m.Name])
		d.contents(part).file(m.Path, 0o644, found.content)
		r.Modules = append(r.Modules, ModuleReport{m.Name, found.group, part, int64(len(found.content)), found.info.signed})
	}
	write := func(c contents, l *modules.List) error {
		var text strings.Builder
		err := l.Write(&text)
		c.file(modules.File, 0o644, []byte(text.String()))
		return err
	}
	if d.head == nil {
		return write(d.first, list)
	}
	return errors.Join(write(d.first, p.list(k.Version, "/lib/modules/"+k.Version, first)), write(d.second, list))
}

// extra adds a file, or all that is below a folder.
func (c contents) extra(e Extra) error {
	target := path.Clean("/" + e.Target)
	return filepath.WalkDir(e.Source, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Stat(file) // what a link leads to
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(e.Source, file)
		if err != nil {
			return err
		}
		name := path.Join(target, filepath.ToSlash(rel))
		switch {
		case fi.IsDir() && d.IsDir():
			c.folder(name)
		case reserved(name) != nil:
			return reserved(name)
		case fi.Mode().IsRegular():
			b, err := readFile(file)
			if err != nil {
				return err
			}
			c.file(name, uint32(fi.Mode().Perm()), b)
		default:
			return fmt.Errorf("%s is neither a file nor a folder", file)
		}
		return nil
	})
}

// firmware adds what the modules name. A name can be a pattern.
func (p *picker) firmware(d divided, first map[string]bool, dir string, r *Report) error {
	root := os.DirFS(dir)
	if _, err := fs.ReadDir(root, "."); err != nil {
		return err
	}
	for _, name := range sorted(p.found) {
		for _, pattern := range p.found[name].info.firmware {
			found := 0
			for _, packed := range []string{"", ".xz", ".zst"} {
				files, err := fs.Glob(root, pattern+packed)
				if err != nil {
					break // not a pattern
				}
				for _, file := range files {
					b, err := readFile(filepath.Join(dir, filepath.FromSlash(file)))
					if err != nil {
						return err
					}
					d.contents(d.part(first[name])).file("lib/firmware/"+file, 0o644, b)
					found++
				}
			}
			if found == 0 && !slices.Contains(r.MissingFirmware, pattern) {
				r.MissingFirmware = append(r.MissingFirmware, pattern)
			}
		}
	}
	slices.Sort(r.MissingFirmware)
	return nil
}

// write writes the image and the kernel.
func (o Options) write(ctx context.Context, d divided, k Kernel, r *Report) error {
	total := int64(0)
	for _, e := range r.Files {
		total += e.Bytes
	}
	var err error
	r.Bytes, err = replace(o.Out, func(w io.Writer) error {
		return d.write(ctx, w, o.Plain, r, func(done int64) { o.Progress(Progress{StageWrite, min(done, total), total}) })
	})
	if r.Parts != nil {
		r.Parts.Second = r.Bytes - r.Parts.First
	}
	if err != nil || o.KernelOut == "" {
		return err
	}
	f, err := os.Open(k.File)
	if err != nil {
		return err
	}
	defer f.Close()
	r.KernelFile = o.KernelOut
	_, err = replace(o.KernelOut, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
	return err
}

// replace writes a file under another name and gives it its own when it is whole and on disk.
func replace(file string, write func(io.Writer) error) (bytes int64, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = write(f)
	if err == nil {
		err = errors.Join(f.Chmod(0o644), f.Sync())
	}
	if fi, statErr := f.Stat(); statErr == nil {
		bytes = fi.Size()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	return bytes, os.Rename(f.Name(), file)
}
