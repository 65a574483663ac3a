package bootimage

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage/fakekernel"
)

// Whatever a package's bytes are: no member is longer than the file, and it comes to an end.
func FuzzAr(f *testing.F) {
	whole := ar("debian-binary", []byte("2.0\n"), "odd/", []byte("123"), "data.tar", []byte("x"))
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(whole[:70])
	f.Add(bytes.Replace(whole, []byte("3         `"), []byte("-3        `"), 1))
	f.Add([]byte(arMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := newArReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		total := 0
		for n := 0; ; n++ {
			if _, err := a.next(); err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, errAr) {
					t.Errorf("an error of another kind: %v", err)
				}
				break
			}
			if n > maxArchive {
				t.Fatal("no end of members")
			}
			got, _ := io.ReadAll(a)
			total += len(got)
		}
		if total > len(b) {
			t.Errorf("%d bytes out of %d", total, len(b))
		}
	})
}

func FuzzModinfo(f *testing.F) {
	f.Add(module("depends=a,b", "softdep=pre: c post: d", "alias=pci:x*", "firmware=x/y"))
	f.Add(fakekernel.Program(false))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := readModinfo(b)
		if err != nil && !errors.Is(err, errModule) {
			t.Errorf("an error of another kind: %v", err)
		}
		for _, a := range info.aliases {
			if bytes.ContainsAny([]byte(a), " \n") || a == "" {
				t.Errorf("an alias that the list cannot hold: %q", a)
			}
		}
	})
}

// Whatever is shown comes to an end, and has no more names than there can be headers.
func FuzzShow(f *testing.F) {
	c := contents{}
	c.file("init", 0o755, []byte("x"))
	c.device("dev/console", 0o600, 5, 1)
	for _, plain := range []bool{true, false} {
		var b bytes.Buffer
		if _, err := c.write(f.Context(), &b, plain, func(int64) {}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()-3])
		f.Add(append(b.Bytes(), b.Bytes()...))
		d := divided{&parts.Head{First: 4, Vendors: []uint16{0x1af4}}, c, c}
		b.Reset()
		if err := d.write(f.Context(), &b, plain, &Report{Parts: &Parts{}}, func(int64) {}); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.HasPrefix(b, []byte("\xfd7zXZ")) {
			return // a program of its own
		}
		all, how, err := Show(bytes.NewReader(b))
		if err == nil && (len(all) == 0 || how == notPacked && len(all) > len(b)/110) {
			t.Errorf("%d names, packed %s", len(all), how)
		}
	})
}
