package tftp

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

// damaged is a farm whose boot files cannot be read beyond their first 1000 bytes.
type damaged struct{ *filestest.Directory }

func (d damaged) Open(vdisk string, version uint32, content string, file bootsvc.BootFile) (bootsvc.Content, error) {
	c, err := d.Directory.Open(vdisk, version, content, file)
	return damagedContent{c}, err
}

type damagedContent struct{ bootsvc.Content }

func (d damagedContent) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) <= 1000 {
		return d.Content.ReadAt(b, at)
	}
	return 0, errors.New("the kernel of debian12 version 3 is damaged; copy the file from another server")
}

// GRUB that loads a damaged kernel is told an error in the middle of it, and goes on with the next server; so is the farm.
func TestADamagedKernelEndsInAnError(t *testing.T) {
	farm := damaged{filestest.New()}
	s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(farm, filestest.Loaders(t)), MACOf: func(netip.Addr) (bootsvc.MAC, bool) { return filestest.MAC, true }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }() // ended and waited for below
	file, asked, err := load(netip.MustParseAddr("127.0.0.2"), s.Addr(), "boot/debian12@3/kernel")
	if err == nil || len(file) > 1000 || asked != 1 || !strings.Contains(err.Error(), "is damaged") {
		t.Errorf("%d bytes, asked %d times, %v", len(file), asked, err)
	}
	if e := farm.Event(); !e.Problem || !strings.Contains(e.Text, "is damaged; copy the file from another server") {
		t.Errorf("told %+v", e)
	}
	cancel()
	if err := <-ended; err != nil || s.Stats().Failed != 1 || farm.Opened() != 0 {
		t.Errorf("%v, %+v", err, s.Stats())
	}
}
