package bootimage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// Problems says all that keeps Build from doing its work, one sentence each, as far as it shows before a package is
// unpacked. What is not set yet is not missed.
func (o Options) Problems() (all []string) {
	note := func(err error) {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	_, _, err := readInit(o.Init)
	note(err)
	if o.Modules != "" {
		note(o.checkModules())
	}
	if o.KernelPackage != "" {
		note(checkPackage(o.KernelPackage))
	}
	if o.Firmware != "" {
		note(checkFolder("--firmware", o.Firmware))
	}
	for _, e := range o.Add {
		if _, err := os.Stat(e.Source); err != nil {
			note(fmt.Errorf("--add: %s: %w", e.Source, reason(err)))
		}
		note(reserved(e.Target))
	}
	for flag, file := range map[string]string{"--out": o.Out, "--kernel-out": o.KernelOut} {
		if file == "" {
			continue
		}
		if fi, err := os.Stat(file); err == nil && fi.IsDir() {
			note(fmt.Errorf("%s: %s is a folder: name a file in it", flag, file))
			continue
		}
		note(checkFolder(flag, filepath.Dir(file)))
	}
	slices.Sort(all)
	return all
}

// checkModules looks for the kernel, and for the modules that somebody asked for by name.
func (o Options) checkModules() error {
	k, err := o.kernel(o.Modules)
	if err != nil {
		return err
	}
	x, err := newIndex(k.Modules)
	if err != nil {
		return err
	}
	var missing []string
	for _, name := range slices.Concat(o.FileSystems, o.Cards, o.MoreModules) {
		name = modules.Name(name)
		if _, there := x.files[name]; !there && !x.builtIn[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("kernel %s: %w", k.Version, noModule(missing))
	}
	return nil
}

func noModule(names []string) error {
	return fmt.Errorf("the kernel has no module %s", strings.Join(names, ", "))
}

// checkPackage looks whether a file can be a Debian package.
func checkPackage(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("--kernel-package: %s: %w", file, reason(err))
	}
	defer f.Close()
	if _, err := newArReader(f); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func checkFolder(flag, dir string) error {
	fi, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("%s: the folder %s: %w", flag, dir, reason(err))
	case !fi.IsDir():
		return fmt.Errorf("%s: %s is no folder", flag, dir)
	}
	return nil
}

// reserved refuses a target that this program makes by itself.
func reserved(target string) error {
	switch target = path.Clean("/" + target); target {
	case "/init", modules.File, "/dev/console", "/" + parts.File:
		return fmt.Errorf("--add: %s is made by this program", target)
	}
	return nil
}

// reason is an error of a file without its name.
func reason(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}

// complaints makes one error of sentences; nil of none.
func complaints(all []string) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return errors.New(all[0])
	}
	return fmt.Errorf("%d things are wrong:\n  %s", len(all), strings.Join(all, "\n  "))
}
