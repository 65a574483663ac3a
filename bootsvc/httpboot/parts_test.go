package httpboot

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files/filestest"
	"github.com/spate-project/spate/bootsvc/parts"
)

// divided is a farm with a boot image of its own. From byte fails on its disk cannot be read.
type divided struct {
	*filestest.Directory
	image []byte
	fails int
}

func (d divided) Open(vdisk string, version uint32, content string, file bootsvc.BootFile) (bootsvc.Content, error) {
	c, err := d.Directory.Open(vdisk, version, content, file)
	if err == nil && file == bootsvc.Image {
		c = dividedContent{c, d}
	}
	return c, err
}

type dividedContent struct {
	bootsvc.Content
	d divided
}

func (c dividedContent) Size() int64 { return int64(len(c.d.image)) }

func (c dividedContent) ReadAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > int64(c.d.fails) {
		return 0, errors.New("the disk")
	}
	return bytes.NewReader(c.d.image).ReadAt(b, at)
}

// imageOfTwo is a boot image whose first part drives virtio's cards and one of Intel's.
func imageOfTwo(t *testing.T) (image []byte, first int) {
	t.Helper()
	h := parts.Head{First: 100_000, Vendors: []uint16{0x1af4}, Cards: []parts.Card{{Vendor: 0x8086, Device: 0x1533}}}
	head, err := h.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return append(head, filestest.Kernel[len(head):150_000]...), int(h.First)
}

const (
	imageFile = "/boot/debian12%403/image?mac=52-54-00-77-00-01"
	intel     = imageFile + "&card=01-80-86-15-33"
)

// Only a machine whose card is surely one of the first part's gets that part alone.
func TestAMachineWithAKnownCardGetsTheFirstPart(t *testing.T) {
	image, first := imageOfTwo(t)
	farm := filestest.New()
	l := serve(t, divided{farm, image, len(image)}, farm)
	tags := map[string]bool{}
	for target, want := range map[string]int{
		intel: first, imageFile + "&card=01-1a-f4-10-41": first,
		imageFile + "&card=01-80-86-15-34": len(image), // another card
		imageFile + "&card=02-80-86-15-33": len(image), // not on PCI
		imageFile + "&card=01-80-86-15-3":  len(image), imageFile + "&card=01808615": len(image), imageFile + "&card=": len(image),
		imageFile + "&card=00-00-00-00-00": len(image), imageFile: len(image), "/boot/debian12@3/image": len(image),
	} {
		r, body := l.ask("GET", target)
		if r.StatusCode != 200 || r.ContentLength != int64(want) || !bytes.Equal(body, image[:want]) {
			t.Errorf("%s: %s, %d bytes of %d", target, r.Status, len(body), r.ContentLength)
		}
		tags[fmt.Sprint(want, r.Header.Get("ETag"))] = true
	}
	if len(tags) != 2 {
		t.Errorf("tags %v", tags)
	}
	if r, body := l.ask("GET", "/boot/debian12%403/kernel?card=01-80-86-15-33"); r.ContentLength != int64(len(filestest.Kernel)) || !bytes.Equal(body, filestest.Kernel) {
		t.Errorf("a kernel has no parts: %s, %d bytes", r.Status, len(body))
	}
}

// The first part is a file like any other: with pieces of its own, and never one of the whole.
func TestPiecesOfTheFirstPartEndWithIt(t *testing.T) {
	image, first := imageOfTwo(t)
	farm := filestest.New()
	l := serve(t, divided{farm, image, len(image)}, farm)
	r, _ := l.ask("HEAD", intel)
	part := r.Header.Get("ETag")
	whole, _ := l.ask("HEAD", imageFile)
	for _, c := range []struct {
		header []string
		status int
		want   []byte
	}{
		{nil, 200, image[:first]},
		{[]string{"Range: bytes=1000-1999"}, 206, image[1000:2000]},
		{[]string{"Range: bytes=-5"}, 206, image[first-5 : first]},
		{[]string{"Range: bytes=99990-"}, 206, image[99_990:first]},
		{[]string{fmt.Sprintf("Range: bytes=%d-", first)}, 416, nil},
		{[]string{"If-None-Match: " + part}, 304, nil},
		{[]string{"If-None-Match: " + whole.Header.Get("ETag")}, 200, image[:first]},
		{[]string{"If-Range: " + whole.Header.Get("ETag"), "Range: bytes=0-0"}, 200, image[:first]},
	} {
		if r, body := l.ask("GET", intel, c.header...); r.StatusCode != c.status || c.status < 300 && !bytes.Equal(body, c.want) {
			t.Errorf("%q: %s, %d bytes", c.header, r.Status, len(body))
		}
	}
	l.stop()
	said := fmt.Sprintf("loaded the boot image of debian12@3 without the drivers of other cards: %d bytes in ", first)
	if !slices.ContainsFunc(farm.Events(), func(e bootsvc.Event) bool { return strings.HasPrefix(e.Text, said) && !e.Problem }) {
		t.Errorf("%q is not among %+v", said, farm.Events())
	}
	if farm.Opened() != 0 {
		t.Error("a file is still open")
	}
}

// What other tools made, and what is damaged, is given as it stands: the kernel says what is wrong with it.
func TestAnImageWithoutAWholeHeadIsServedWhole(t *testing.T) {
	image, _ := imageOfTwo(t)
	damaged := slices.Clone(image)
	damaged[200] ^= 1
	for name, b := range map[string][]byte{"damaged": damaged, "other": filestest.Kernel, "cut in its first part": image[:90_000], "cut in its head": image[:130], "nothing": {}} {
		farm := filestest.New()
		l := serve(t, divided{farm, b, len(b)}, farm)
		if r, body := l.ask("GET", intel); r.StatusCode != 200 || !bytes.Equal(body, b) {
			t.Errorf("%s: %s, %d bytes", name, r.Status, len(body))
		}
	}
}

// A disk that fails in the head is no other case than one that fails in the file: the machine goes on with the next server.
func TestADiskThatFailsInTheHeadIsTold(t *testing.T) {
	image, _ := imageOfTwo(t)
	farm := filestest.New()
	l := serve(t, divided{farm, image, 64}, farm)
	if r, body := l.ask("HEAD", intel); r.ContentLength != int64(len(image)) || len(body) != 0 {
		t.Errorf("%s, %d bytes", r.Status, r.ContentLength)
	}
}
