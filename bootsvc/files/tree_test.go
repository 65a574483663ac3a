package files_test

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files"
	"github.com/spate-project/spate/bootsvc/files/filestest"
	"github.com/spate-project/spate/bootsvc/ipxe"
)

func TestEachNameGivesItsBytesAndATagOfThem(t *testing.T) {
	tree := files.New(filestest.New(), filestest.Loaders(t))
	tags := map[string]string{}
	for name, want := range map[string][]byte{
		"ipxe/undionly.kpxe":         filestest.Loader,
		"shimx64.efi":                filestest.Loader,
		"boot/debian12@3/kernel":     filestest.Kernel,
		"boot/debian12@3/image":      filestest.Image,
		"boot.ipxe":                  []byte("#!ipxe\n"),
		"script/525400770001":        []byte("#!ipxe\n"),
		"grub/grub.cfg":              []byte("# Spate"),
		"grub/52-54-00-77-00-01.cfg": []byte("# Spate"),
	} {
		n, err := files.Parse(name)
		if err != nil {
			t.Fatal(name, err)
		}
		f, err := tree.Open(n)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || !bytes.HasPrefix(got, want) || int64(len(got)) != f.Size() || !f.Changes && len(got) != len(want) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got), f.Size(), err)
		}
		if other := tags[f.Tag()]; other != "" && !bytes.Equal(want, filestest.Loader) {
			t.Errorf("%s has the tag of %s", name, other)
		}
		tags[f.Tag()] = name
		if err := f.Close(); err != nil {
			t.Error(name, err)
		}
	}
}

// A loader that is missing names its package, for the log and for whoever starts the server.
func TestAMissingLoaderNamesItsPackage(t *testing.T) {
	loaders := filestest.Loaders(t)
	tree := files.New(filestest.New(), loaders)
	for name, pkg := range map[string]string{"grubx64.efi": "grub-efi-amd64-signed", "ipxe/arm64.efi": "ipxe"} {
		n, err := files.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		missing := (*ipxe.MissingError)(nil)
		if _, err = tree.Open(n); !errors.As(err, &missing) || !strings.Contains(err.Error(), pkg) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p := loaders.Problems(false); len(p) != 0 {
		t.Errorf("without Secure Boot: %q", p)
	}
	if p := loaders.Problems(true); len(p) != 1 || !strings.Contains(p[0], "grub-efi-amd64-signed") {
		t.Errorf("with Secure Boot: %q", p)
	}
	if p := ipxe.NewLoaders(t.TempDir()).Problems(true); len(p) != 4 || !strings.Contains(p[0], "package ipxe") {
		t.Errorf("with nothing: %q", p)
	}
}

// A transfer that names no machine is that of the machine which named itself from the same address before.
func TestATransferBelongsToTheMachineThatNamedItself(t *testing.T) {
	tree := files.New(filestest.New(), filestest.Loaders(t))
	kernel, _ := files.Parse("boot/debian12@3/kernel")
	config, _ := files.Parse("grub/52-54-00-77-00-01.cfg")
	from := netip.MustParseAddr("192.0.2.50")
	if m, ok := tree.Caller(kernel, from, nil); ok {
		t.Errorf("already known as %v", m)
	}
	tree.Caller(config, netip.MustParseAddr("::ffff:192.0.2.50"), nil)
	if m, ok := tree.Caller(kernel, from, nil); !ok || m != filestest.MAC {
		t.Errorf("%v, %v", m, ok)
	}
	other := config
	for i := range 20_000 { // more than are remembered
		other.MAC = bootsvc.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		if m, ok := tree.Caller(other, a, nil); !ok || m != other.MAC {
			t.Fatalf("%v, %v", m, ok)
		}
		if m, ok := tree.Caller(kernel, a, nil); !ok || m != other.MAC {
			t.Fatalf("%v, %v", m, ok)
		}
	}
}

// A kernel goes with the disk that its script names, and with no other under the same number.
func TestABootFileOfAnotherContentIsNotGiven(t *testing.T) {
	tree := files.New(filestest.New(), filestest.Loaders(t))
	for content, want := range map[string]bool{filestest.Holds: true, "0011223344556677": false} {
		n, err := files.Parse("boot/debian12@3/" + content + "/kernel")
		if err != nil {
			t.Fatal(err)
		}
		f, err := tree.Open(n)
		if (err == nil) != want {
			t.Errorf("%s: %v", content, err)
		}
		if err == nil {
			f.Close()
		}
	}
}

// A DHCP server that names a file of another boot server is found; what loaders look for by themselves is no problem, and a flood no flood.
func TestANameThatDoesNotExistIsToldUnlessLoadersLookForItByThemselves(t *testing.T) {
	farm := filestest.New()
	tree, now := files.New(farm, filestest.Loaders(t)), time.Now()
	for i, name := range []string{"grub/x86_64-efi/command.lst", "/grub/x86_64-efi/fs.lst", "revocations_sku.efi", "shim_certificate_0.efi", "ipxe/autoexec.ipxe", "pxelinux.0", "/undionly.kpxe"} {
		for range 100 {
			tree.Missing("tftp", name, now.Add(time.Duration(i)*time.Second), func() (bootsvc.MAC, bool) { return filestest.MAC, true })
		}
	}
	events := farm.Events()
	if len(events) != 2 || !events[0].Problem || events[0].MAC != filestest.MAC || !strings.Contains(events[0].Text, `"pxelinux.0"`) || !strings.Contains(events[1].Text, `"/undionly.kpxe"`) {
		t.Errorf("told %+v", events)
	}
}
