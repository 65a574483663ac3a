package ipxe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spate-project/spate/bootsvc"
)

// Names of loaders that package bootsvc does not name: firmware and shim ask for them by themselves.
const (
	fileBIOS       = bootsvc.FolderIPXE + "undionly.kpxe"
	fileX64        = bootsvc.FolderIPXE + "snponly.efi"
	fileARM64      = bootsvc.FolderIPXE + "arm64.efi"
	fileMokManager = "mmx64.efi"
	fileFallback   = "fbx64.efi"
)

// need says when a loader that is missing is a problem.
type need int

const (
	always need = iota
	secureBoot
	never // machines that need it are rare, or get along without it
)

// loader is a file that machines load before anything of ours.
type loader struct {
	name string
	pkg  string // the Debian package that has it
	what string // who loads it
	need need
	// paths are where packages of different releases put it, the first one that is there counts. Relative to the root folder.
	paths []string
}

// table is the whole of what can be asked for. Debian 12's ipxe is built for x86 alone; the names that builds for arm64
// give it are the other packages'.
var table = []loader{
	{fileBIOS, "ipxe", "BIOS machines", always, []string{"usr/lib/ipxe/undionly.kpxe"}},
	{fileX64, "ipxe", "UEFI x86-64 machines", always, []string{"usr/lib/ipxe/snponly.efi"}},
	{fileARM64, "ipxe (of a release that has it for arm64)", "UEFI arm64 machines", never, []string{
		"usr/lib/ipxe/snponly-arm64.efi", "usr/lib/ipxe/arm64/snponly.efi", "usr/lib/ipxe/ipxe-arm64.efi", "boot/ipxe-arm64.efi"}},
	{bootsvc.FileShim, "shim-signed", "UEFI machines with Secure Boot", secureBoot, []string{
		"usr/lib/shim/shimx64.efi.signed", "usr/lib/shim/shimx64.efi.signed.latest"}},
	{bootsvc.FileGRUB, "grub-efi-amd64-signed", "shim", secureBoot, []string{"usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"}},
	{fileMokManager, "shim-helpers-amd64-signed", "shim, to enrol keys", never, []string{"usr/lib/shim/mmx64.efi.signed"}},
	{fileFallback, "shim-helpers-amd64-signed", "shim, to restore boot entries", never, []string{"usr/lib/shim/fbx64.efi.signed"}},
}

// ErrNoLoader says that there is no loader of that name, here or anywhere.
var ErrNoLoader = errors.New("no such file")

// MissingError says which package is not installed.
type MissingError struct {
	Name, Package, For string
	Paths              []string
}

// Error is a sentence that names the package.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%s, which %s load, is not on this server: install package %s (looked for %s)", e.Name, e.For, e.Package, strings.Join(e.Paths, ", "))
}

// Loaders finds the loaders of one server.
type Loaders struct{ root string }

// NewLoaders looks for loaders below root, which is "/" but in tests.
func NewLoaders(root string) Loaders { return Loaders{root: root} }

// IsLoader tells whether a name is that of a loader, whether it is installed or not.
func IsLoader(name string) bool {
	return slices.ContainsFunc(table, func(l loader) bool { return l.name == name })
}

// Open opens a loader by the name that machines know it by; the caller closes it. A loader whose package is not there gives a
// *MissingError, another name ErrNoLoader.
func (l Loaders) Open(name string) (*os.File, error) {
	for _, t := range table {
		if t.name == name {
			return l.open(t)
		}
	}
	return nil, fmt.Errorf("%.80q: %w", name, ErrNoLoader)
}

func (l Loaders) open(t loader) (*os.File, error) {
	missing := &MissingError{Name: t.name, Package: t.pkg, For: t.what}
	for _, p := range t.paths {
		path := filepath.Join(l.root, p)
		f, err := os.Open(path)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("loader %s: %w", t.name, err)
		}
		missing.Paths = append(missing.Paths, path)
	}
	return nil, missing
}

// Problems says what is missing on this server, one sentence each, for its start.
func (l Loaders) Problems(withSecureBoot bool) (sentences []string) {
	for _, t := range table {
		if t.need == never || t.need == secureBoot && !withSecureBoot {
			continue
		}
		f, err := l.open(t)
		if err != nil {
			sentences = append(sentences, err.Error())
			continue
		}
		_ = f.Close() // nothing was written
	}
	return sentences
}
