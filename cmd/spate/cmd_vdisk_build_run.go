package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/bootimage"
	"github.com/spate-project/spate/cmd/internal/rootfs"
	"github.com/spate-project/spate/vdisk"
	"github.com/spate-project/spate/vdisk/tree"
)

// build is a vDisk to make, with everything looked at that can be looked at before.
type build struct {
	flags  *buildFlags
	folder rootfs.Folder // or
	debian rootfs.Debian
	image  rootfs.Image
	boot   bootimage.Options
	into   vdisk.ImportOptions
	line   string

	stages   *stages
	kernel   bootimage.Kernel
	report   *bootimage.Report
	findings rootfs.Findings
	result   *vdisk.Result
}

// build looks at everything, and says all that is wrong at once.
func (f *buildFlags) build(c *cobra.Command) (*build, error) {
	b := &build{flags: f, boot: f.image, stages: newStages(c.ErrOrStderr())}
	var problems []error
	note := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	told := func(sentences []string) {
		for _, text := range sentences {
			note(errors.New(text))
		}
	}
	size, err := parseBytes(f.size)
	note(flagError("--size", err))
	chunk, err := parseSize(f.chunk)
	note(flagError("--chunk", err))
	codec, err := tree.ParseCodec(f.codec)
	note(flagError("--codec", err))
	note(flagError("--name", vdisk.CheckName(f.name)))
	note(f.free())
	b.line = strings.TrimSpace(standardLine + " rootfstype=" + f.fs + " " + f.line)
	note(flagError("--command-line", vdisk.CheckCommandLine(b.line)))
	b.image = rootfs.Image{Type: f.fs, Bytes: size, Name: f.name}
	if slices.Contains(rootfs.FileSystems(), f.fs) {
		told(b.image.Problems())
	} else {
		note(usageError("--fs %s", strings.Join(b.image.Problems(), "; ")))
	}
	if f.from != "" {
		told(b.lookAtFolder(c.Context(), size))
	} else {
		b.debian = rootfs.Debian{Suite: f.suite, Mirrors: f.mirrors, Kernel: f.kernel, Include: f.include}
		var unread []string
		b.debian.Login, unread = f.login()
		if len(unread) > 0 {
			b.debian.Login = rootfs.Login{None: true} // nothing comes of it; what is wrong with it is said
		}
		told(unread)
		told(b.debian.Problems())
	}
	told(b.boot.Problems())
	if len(problems) > 0 {
		return nil, together(problems, fmt.Errorf("nothing was begun, because of this:\n  %s", strings.ReplaceAll(errors.Join(problems...).Error(), "\n", "\n  ")))
	}
	b.into = vdisk.ImportOptions{
		Into: f.store, Name: f.name, NewVersion: f.newVersion, ChunkSize: chunk, Codec: codec, Who: whoami(), Program: program(),
	}
	return b, nil
}

// free tells whether the store has a place for the vDisk.
func (f *buildFlags) free() error {
	entries, err := os.ReadDir(f.store)
	if err != nil {
		return fmt.Errorf("--store: %w", err)
	}
	for _, e := range entries {
		if name, number, err := vdisk.ParseFileName(e.Name()); err == nil && name == f.name && !f.newVersion {
			return fmt.Errorf("%s has %s version %d already: take another --name, or make its next version with --new-version", f.store, name, number)
		}
	}
	return nil
}

// login reads who may log in, and says which of it cannot be read.
func (f *buildFlags) login() (l rootfs.Login, problems []string) {
	var err error
	l.None = f.noLogin
	if f.passwordFile != "" {
		if l.Password, err = rootfs.ReadPassword(f.passwordFile); err != nil {
			problems = append(problems, "--root-password-file: "+err.Error())
		}
	}
	if f.keyFile != "" {
		if l.Keys, err = rootfs.ReadKeys(f.keyFile); err != nil {
			problems = append(problems, "--ssh-key: "+err.Error())
		}
	}
	return l, problems
}

// lookAtFolder looks at the folder that is to be copied.
func (b *build) lookAtFolder(ctx context.Context, size int64) (problems []string) {
	dir, err := filepath.Abs(b.flags.from)
	if err != nil {
		return []string{err.Error()}
	}
	b.folder = rootfs.Folder{Dir: dir}
	for _, w := range append([]string{}, b.flags.omit...) {
		b.folder.Without = append(b.folder.Without, strings.Trim(filepath.ToSlash(filepath.Clean(w)), "/"))
	}
	// The vDisks themselves are not part of the system, where --from is /.
	if store, err := filepath.Abs(b.flags.store); err == nil {
		b.leaveOut(store)
	}
	if problems = b.folder.Problems(); len(problems) > 0 {
		return problems
	}
	found, problems := rootfs.Inspect(dir)
	b.findings = found
	if err := b.findKernel(dir); err != nil {
		problems = append(problems, err.Error())
	} else {
		b.boot.Modules, b.boot.KernelVersion = b.kernel.Modules, b.kernel.Version
		if len(b.image.Problems()) == 0 {
			b.boot.FileSystems = []string{b.flags.fs}
		}
	}
	bytes, files, err := b.folder.Measure(ctx)
	if err != nil {
		return append(problems, err.Error())
	}
	if text := rootfs.Fits(bytes, files, size); text != "" {
		problems = append(problems, text)
	}
	return problems
}

// leaveOut leaves a folder out that lies in the one to copy.
func (b *build) leaveOut(dir string) {
	if rel, err := filepath.Rel(b.folder.Dir, dir); err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
		b.folder.Without = append(b.folder.Without, filepath.ToSlash(rel))
	}
}

func (b *build) findKernel(root string) error {
	all, err := bootimage.FindKernels(root)
	if err != nil {
		return err
	}
	if b.kernel, err = bootimage.PickKernel(all, b.flags.kernelVersion, true); err != nil {
		return err
	}
	if b.kernel.File == "" {
		return fmt.Errorf("there are modules of kernel %s and not the kernel itself; looked for %s", b.kernel.Version, strings.Join(b.kernel.Looked, ", "))
	}
	_, err = vdisk.BootFileAt(vdisk.BootKernel, b.kernel.File)
	return err
}

// run makes the vDisk.
func (b *build) run(c *cobra.Command) (err error) {
	scratch, remove, err := rootfs.Scratch(b.flags.scratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if b.folder.Dir != "" {
		b.leaveOut(scratch)
	}
	err = b.make(c.Context(), scratch)
	if err != nil {
		b.stages.status.end() // the stage did not come to its end
	} else {
		b.stages.end()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted, nothing was left behind")
	case err != nil:
		return err
	case b.flags.asJSON:
		return printJSON(c.OutOrStdout(), b.json())
	}
	b.print(c.OutOrStdout())
	return nil
}

// make goes through the stages, in scratch.
func (b *build) make(ctx context.Context, scratch string) error {
	root, image, bootImage := filepath.Join(scratch, "root"), filepath.Join(scratch, b.flags.name+".img"), filepath.Join(scratch, "boot.img")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	s := b.stages
	if b.folder.Dir != "" {
		s.begin("copying the root folder")
		if err := b.folder.Copy(ctx, root); err != nil {
			return err
		}
	} else if err := b.install(ctx, root); err != nil {
		return err
	}
	s.begin("making the boot image")
	o := b.boot
	o.Modules, o.KernelVersion, o.FileSystems, o.Out = b.kernel.Modules, b.kernel.Version, []string{b.flags.fs}, bootImage
	o.Progress = func(p bootimage.Progress) { s.line(p.Stage) }
	var err error
	if b.report, err = bootimage.Build(ctx, o); err != nil {
		return err
	}
	s.begin("making the file system")
	b.image.Dir, b.image.File, b.image.Kernel = root, image, b.kernel.Version
	if err := b.image.Write(ctx, s.line); err != nil {
		return err
	}
	s.begin("storing the vDisk")
	for _, f := range []struct {
		kind vdisk.BootKind
		path string
		to   *vdisk.BootSource
	}{{vdisk.BootKernel, b.kernel.File, &b.into.Boot.Kernel}, {vdisk.BootImage, bootImage, &b.into.Boot.Image}} {
		if *f.to, err = vdisk.BootFileAt(f.kind, f.path); err != nil {
			return err
		}
	}
	b.into.Source, b.into.Boot.CommandLine = image, b.line
	b.into.Progress = func(p vdisk.Progress) { s.line(fmt.Sprintf("%s of %s", vdisk.Bytes(p.Done), vdisk.Bytes(p.Total))) }
	b.into.Warn = func(text string) { s.say("warning: " + text) }
	b.result, err = vdisk.Import(ctx, b.into)
	return err
}

// install makes the root folder of packages, and looks at what came of it.
func (b *build) install(ctx context.Context, root string) error {
	b.stages.begin("installing " + b.flags.suite)
	if err := b.debian.Make(ctx, root, b.stages.line); err != nil {
		return err
	}
	found, problems := rootfs.Inspect(root)
	if len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	b.findings = found
	if err := b.findKernel(root); err != nil {
		return err
	}
	folder := rootfs.Folder{Dir: root}
	bytes, files, err := folder.Measure(ctx)
	if err != nil {
		return err
	}
	if text := rootfs.Fits(bytes, files, b.image.Bytes); text != "" {
		return errors.New(text)
	}
	return nil
}

// stages shows what is being done, and says of each stage how long it took.
type stages struct {
	status
	name  string
	began time.Time
}

func newStages(w io.Writer) *stages { return &stages{status: newStatus(w, lineEvery)} }

func (s *stages) begin(name string) {
	s.end()
	s.name, s.began = name, s.now()
	s.last = time.Time{}
	if s.terminal {
		s.line("")
	}
	s.last = s.now()
}

// line shows how far the stage is.
func (s *stages) line(text string) {
	if !s.due() {
		return
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
	s.write(strings.TrimSpace(fmt.Sprintf("%s, %.0f s  %.90s", s.name, s.now().Sub(s.began).Seconds(), text)))
}

// end says how long the stage took.
func (s *stages) end() {
	if s.name != "" {
		s.say(fmt.Sprintf("%s: %s", s.name, short(s.now().Sub(s.began))))
		s.name = ""
	}
}
