package files

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/ipxe"
)

// Content types of what is served.
const (
	typeBytes = "application/octet-stream"
	typeText  = "text/plain; charset=utf-8"
)

// Tree serves names. It may be used by many goroutines at once.
type Tree struct {
	directory bootsvc.Directory
	loaders   ipxe.Loaders

	missed atomic.Int64 // the second in which a name that does not exist was told

	mu      sync.Mutex
	callers map[netip.Addr]bootsvc.MAC // guarded by mu; at most maxCallers
}

// New makes the tree of one server.
func New(d bootsvc.Directory, l ipxe.Loaders) *Tree {
	return &Tree{directory: d, loaders: l, callers: make(map[netip.Addr]bootsvc.MAC)}
}

// File is an open file. The caller closes it.
type File struct {
	bootsvc.Content
	// Type is the content type of HTTP.
	Type string
	// Changes says that the next answer may be another one: nobody may keep it.
	Changes bool
}

// Open opens what a name stands for. An error that wraps ErrName or ipxe.ErrNoLoader means that there is no such thing; all
// others are sentences for people.
func (t *Tree) Open(n Name) (File, error) {
	switch n.Kind {
	case Loader:
		return t.loader(n.Loader)
	case AnyScript:
		return rendered(ipxe.AnyScript(t.directory.Farm())), nil
	case AnyGRUB:
		return rendered(ipxe.AnyGRUB(t.directory.Farm())), nil
	case Script:
		c := bootsvc.Client{MAC: n.MAC, Arch: n.Arch, UUID: n.UUID, IPXE: true}
		return rendered(ipxe.Script(c, t.directory.Boot(c), t.directory.Farm(), n.Choice)), nil
	case GRUB:
		c := bootsvc.Client{MAC: n.MAC, Arch: bootsvc.ArchX64}
		return rendered(ipxe.GRUB(c, t.directory.Boot(c), t.directory.Farm())), nil
	case BootFile:
		content, err := t.directory.Open(n.VDisk, n.Version, n.Content, n.File)
		if err != nil {
			return File{}, err
		}
		return File{Content: content, Type: typeBytes}, nil
	}
	return File{}, ErrName
}

func (t *Tree) loader(name string) (File, error) {
	f, err := t.loaders.Open(name)
	if err != nil {
		return File{}, err
	}
	content, err := newLoaderFile(f)
	if err != nil {
		return File{}, errors.Join(fmt.Errorf("loader %s: %w", name, err), f.Close())
	}
	return File{Content: content, Type: typeBytes}, nil
}

// Caller says which machine asks: the one that the name names, else the one that has the address by macOf, which may be nil, else the
// one that named itself there a while ago.
func (t *Tree) Caller(n Name, from netip.Addr, macOf func(netip.Addr) (bootsvc.MAC, bool)) (bootsvc.MAC, bool) {
	from = from.Unmap()
	if !n.Known && macOf != nil {
		if mac, ok := macOf(from); ok {
			return mac, true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !n.Known {
		mac, ok := t.callers[from]
		return mac, ok
	}
	if _, there := t.callers[from]; !there && len(t.callers) >= maxCallers {
		for old := range t.callers { // any one: it is a hint for the log only
			delete(t.callers, old)
			break
		}
	}
	t.callers[from] = n.MAC
	return n.MAC, true
}

// rendered is a text that was made for this request.
func rendered(text []byte) File {
	sum := sha256.Sum256(text)
	return File{Content: memory{Reader: bytes.NewReader(text), tag: hex.EncodeToString(sum[:16])}, Type: typeText, Changes: true}
}

type memory struct {
	*bytes.Reader
	tag string
}

// Close has nothing to do.
func (m memory) Close() error { return nil }

// Tag is a hash of the text.
func (m memory) Tag() string { return m.tag }

// loaderFile is a file of a package.
type loaderFile struct {
	*os.File
	size int64
	tag  string
}

// Size is that of the moment when it was opened.
func (f loaderFile) Size() int64 { return f.size }

// Tag is a hash of the bytes.
func (f loaderFile) Tag() string { return f.tag }

// newLoaderFile hashes it, so that its tag is that of its bytes: loaders are small, and packages are upgraded while we run.
func newLoaderFile(f *os.File) (loaderFile, error) {
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return loaderFile{}, err
	}
	return loaderFile{File: f, size: size, tag: hex.EncodeToString(h.Sum(nil)[:16])}, nil
}
