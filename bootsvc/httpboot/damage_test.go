package httpboot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

// damaged is a farm whose boot files cannot be read from some byte on: a store checks what it gives.
type damaged struct {
	*filestest.Directory
	from int64
}

func (d damaged) Open(vdisk string, version uint32, content string, file bootsvc.BootFile) (bootsvc.Content, error) {
	c, err := d.Directory.Open(vdisk, version, content, file)
	return damagedContent{c, d.from}, err
}

type damagedContent struct {
	bootsvc.Content
	from int64
}

func (d damagedContent) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) <= d.from {
		return d.Content.ReadAt(b, at)
	}
	n, _ := d.Content.ReadAt(b[:max(0, d.from-at)], at)
	return n, errors.New("the kernel of debian12 version 3 in a.spate is damaged; copy the file from another server")
}

// A kernel that is damaged, from its first byte on or later, never seems whole: the connection ends before its length, so that
// iPXE goes on with the next server, and the farm is told what is wrong with which file.
func TestADamagedKernelIsNeverTakenForAWholeOne(t *testing.T) {
	for _, from := range []int64{0, 1, 100_000, int64(len(filestest.Kernel)) - 1} {
		farm := damaged{filestest.New(), from}
		s, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Tree: files.New(farm, filestest.Loaders(t))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }() // ended and waited for below
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", kernel) // and it keeps its connection, as iPXE does
		r, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if !errors.Is(err, io.ErrUnexpectedEOF) || r.ContentLength != int64(len(filestest.Kernel)) || int64(len(body)) > from {
			t.Errorf("damaged from %d on: %s, %d of %d bytes, %v", from, r.Status, len(body), r.ContentLength, err)
		}
		if e := farm.Event(); !e.Problem || !strings.Contains(e.Text, "is damaged; copy the file from another server") {
			t.Errorf("damaged from %d on: told %+v", from, e)
		}
		_ = conn.Close()
		cancel()
		if err := <-ended; err != nil || s.Stats().Failed != 1 || farm.Opened() != 0 {
			t.Errorf("%v, %+v", err, s.Stats())
		}
	}
}
