package bootimage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Kernel is a kernel with its modules.
type Kernel struct {
	// Version is what uname -r says when it runs.
	Version string
	// Modules is its folder of modules.
	Modules string
	// File is the kernel itself; empty when it was not found, and then Looked says where it could have been.
	File   string
	Looked []string
}

// FindKernels gives the kernels whose modules are in dir, the newest first: dir is a root folder, its folder lib/modules, or
// the folder lib/modules/VERSION of one kernel.
func FindKernels(dir string) ([]Kernel, error) {
	if _, err := os.ReadDir(dir); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if holdsModules(dir) {
		root := dir
		if filepath.Base(filepath.Dir(dir)) == "modules" {
			root = rootAbove(filepath.Dir(dir))
		}
		return []Kernel{kernelAt(root, dir)}, nil
	}
	for _, sub := range []string{"usr/lib/modules", "lib/modules", "."} {
		folder := filepath.Join(dir, sub)
		root := dir
		if sub == "." {
			root = rootAbove(dir)
		}
		if found := kernelsIn(root, folder); len(found) > 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("%s has no kernel modules: it is neither a folder /lib/modules/VERSION nor a root folder in which a kernel is installed", dir)
}

// rootAbove is the root folder to which lib/modules or usr/lib/modules belongs.
func rootAbove(modules string) string {
	root := filepath.Dir(filepath.Dir(modules))
	if filepath.Base(root) == "usr" {
		root = filepath.Dir(root)
	}
	return root
}

func kernelsIn(root, folder string) []Kernel {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var found []Kernel
	for _, e := range entries {
		if dir := filepath.Join(folder, e.Name()); holdsModules(dir) {
			found = append(found, kernelAt(root, dir))
		}
	}
	slices.SortFunc(found, func(a, b Kernel) int { return -compareVersions(a.Version, b.Version) })
	return found
}

// holdsModules tells whether dir is a folder of modules.
func holdsModules(dir string) bool {
	fi, err := os.Stat(filepath.Join(dir, "kernel"))
	return err == nil && fi.IsDir() && filepath.Base(dir) != "boot"
}

func kernelAt(root, dir string) Kernel {
	k := Kernel{Version: filepath.Base(dir), Modules: dir}
	for _, file := range []string{
		filepath.Join(root, "boot", "vmlinuz-"+k.Version), filepath.Join(dir, "vmlinuz"), filepath.Join(root, "boot", "vmlinux-"+k.Version),
	} {
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() {
			k.File = file
			break
		}
		k.Looked = append(k.Looked, file)
	}
	return k
}

// PickKernel takes the kernel of this version, or with version empty the only one; with newest the first of several.
func PickKernel(all []Kernel, version string, newest bool) (Kernel, error) {
	var names []string
	for _, k := range all {
		if k.Version == version {
			return k, nil
		}
		names = append(names, k.Version)
	}
	switch {
	case version != "":
		return Kernel{}, fmt.Errorf("there is no kernel %s, but %s", version, strings.Join(names, ", "))
	case len(all) == 1 || newest && len(all) > 0:
		return all[0], nil
	case len(all) == 0:
		return Kernel{}, errors.New("there is no kernel")
	}
	return Kernel{}, fmt.Errorf("there are %d kernels, %s: say which one with --kernel-version", len(all), strings.Join(names, ", "))
}

// compareVersions compares the numbers in two versions as numbers, and the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		x, y := part(a), part(b)
		a, b = a[len(x):], b[len(y):]
		if digit(x[0]) && digit(y[0]) {
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if c := cmp.Compare(len(x), len(y)); c != 0 {
				return c
			}
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// part is the begin of a text that has only digits or none. The text is not empty.
func part(s string) string {
	i := 1
	for i < len(s) && digit(s[i]) == digit(s[0]) {
		i++
	}
	return s[:i]
}

// readIndex reads one of the files beside the modules. One that is not there is empty.
func readIndex(dir, name string) (string, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := readBounded(f, maxIndex)
	if err != nil {
		return "", fmt.Errorf("%s: %w", f.Name(), err)
	}
	return string(b), nil
}
