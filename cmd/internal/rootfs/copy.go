package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// volatile are the folders whose contents belong to a running system.
var volatile = []string{"proc", "sys", "dev", "run", "tmp"}

// Folder is a root folder to copy.
type Folder struct {
	Dir string
	// Without are files and folders that are left out, as paths from the folder on.
	Without []string
}

// Problems says why the folder cannot be copied or booted.
func (f Folder) Problems() []string {
	problems := append(missing(toolTar), asRoot()...)
	fi, err := os.Stat(f.Dir)
	switch {
	case err != nil:
		return append(problems, err.Error())
	case !fi.IsDir():
		return append(problems, fmt.Sprintf("%s is not a folder", f.Dir))
	}
	return problems
}

// Measure adds up what the folder will take in an image: its bytes, in whole blocks, and its files. Files that cannot be
// read are counted too.
func (f Folder) Measure(ctx context.Context) (bytes, files int64, err error) {
	seen := map[[2]uint64]bool{}
	err = filepath.WalkDir(f.Dir, func(file string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it went away
			}
			return err
		}
		rel, err := filepath.Rel(f.Dir, file)
		if err != nil {
			return err
		}
		if f.leftOut(filepath.ToSlash(rel)) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil // it went away
		}
		id, several, size, ok := inode(fi)
		if several && !d.IsDir() {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		files++
		switch {
		case !d.Type().IsRegular():
			bytes += blockSize
		case ok:
			bytes += size
		default:
			bytes += fi.Size() + blockSize
		}
		return nil
	})
	return bytes, files, err
}

// leftOut tells whether a path below the folder is not copied.
func (f Folder) leftOut(rel string) bool {
	for _, v := range volatile {
		if path.Dir(rel) == v {
			return true
		}
	}
	return slices.ContainsFunc(f.Without, func(w string) bool { return rel == w })
}

// excludes gives the folder's exclusions as tar's.
func (f Folder) excludes() (args []string) {
	for _, v := range volatile {
		args = append(args, "--exclude=./"+v+"/*")
	}
	for _, w := range f.Without {
		args = append(args, "--exclude=./"+escape(w))
	}
	return args
}

// escape writes a path so that tar sees no pattern in it.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// Copy copies the folder into to, which is there and empty.
func (f Folder) Copy(ctx context.Context, to string) error {
	keep := []string{"--numeric-owner", "--sparse", "--acls", "--selinux", "--xattrs", "--xattrs-include=*"}
	pack := exec.CommandContext(ctx, look(toolTar.Program), slices.Concat(
		[]string{"--create", "--file=-", "--directory=" + f.Dir, "--anchored", "--wildcards", "--wildcards-match-slash", "--warning=no-file-ignored"},
		keep, f.excludes(), []string{"."})...)
	pack.Env = append(os.Environ(), "LC_ALL=C")
	var said strings.Builder
	pack.Stderr = &said
	out, err := pack.StdoutPipe()
	if err != nil {
		return err
	}
	if err := pack.Start(); err != nil {
		return err
	}
	unpack := command{name: look(toolTar.Program), input: out, args: slices.Concat(
		[]string{"--extract", "--file=-", "--directory=" + to, "--preserve-permissions", "--same-owner", "--delay-directory-restore"}, keep)}
	unpackErr := unpack.run(ctx)
	if unpackErr != nil {
		_ = pack.Process.Kill() // nobody reads what it writes
	}
	err = pack.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case unpackErr != nil:
		return unpackErr
	case err != nil:
		words := said.String()
		return fmt.Errorf("read %s: %w: %s", f.Dir, err, strings.TrimSpace(words[:min(len(words), maxSaid)]))
	}
	return nil
}
