package files

import (
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/parts"
)

var mac = bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 0xaf}

// names are those that machines ask for.
var names = map[string]Name{
	"ipxe/undionly.kpxe":                    {Kind: Loader, Loader: "ipxe/undionly.kpxe", Arch: bootsvc.ArchUnknown},
	"/shimx64.efi":                          {Kind: Loader, Loader: "shimx64.efi", Arch: bootsvc.ArchUnknown},
	"boot.ipxe":                             {Kind: AnyScript, Arch: bootsvc.ArchUnknown},
	"script/52-54-00-77-00-AF":              {Kind: Script, MAC: mac, Known: true, Arch: bootsvc.ArchUnknown},
	"/grub/grub.cfg":                        {Kind: AnyGRUB, Arch: bootsvc.ArchUnknown},
	"/grub/52:54:00:77:00:af.cfg":           {Kind: GRUB, MAC: mac, Known: true, Arch: bootsvc.ArchUnknown},
	"boot/debian12@3/kernel":                {Kind: BootFile, VDisk: "debian12", Version: 3, File: bootsvc.Kernel, Arch: bootsvc.ArchUnknown},
	"boot/d@3/0123456789abcdef/kernel":      {Kind: BootFile, VDisk: "d", Version: 3, Content: "0123456789abcdef", File: bootsvc.Kernel, Arch: bootsvc.ArchUnknown},
	"boot/a.b_c-d@0/image?mac=5254007700af": {Kind: BootFile, VDisk: "a.b_c-d", File: bootsvc.Image, MAC: mac, Known: true, Arch: bootsvc.ArchUnknown},
	"boot/d@3/image?mac=5254007700af&card=01-1a-f4-10-00": {
		Kind: BootFile, VDisk: "d", Version: 3, File: bootsvc.Image, MAC: mac, Known: true, Card: parts.Card{Vendor: 0x1af4, Device: 0x1000}, Arch: bootsvc.ArchUnknown},
	"boot/d@3/image?card=02-1a-f4-10-00":  {Kind: BootFile, VDisk: "d", Version: 3, File: bootsvc.Image, Arch: bootsvc.ArchUnknown},
	"boot/d@3/image?card=${netX/busid}&x": {Kind: BootFile, VDisk: "d", Version: 3, File: bootsvc.Image, Arch: bootsvc.ArchUnknown},
	"boot/d@3/image?card=01-1A-F4-10-00":  {Kind: BootFile, VDisk: "d", Version: 3, File: bootsvc.Image, Arch: bootsvc.ArchUnknown},
	"boot/d@3/kernel?card=01-1a-f4-10-00": {Kind: BootFile, VDisk: "d", Version: 3, File: bootsvc.Kernel, Arch: bootsvc.ArchUnknown},
	"boot.ipxe?card=01-1a-f4-10-00":       {Kind: AnyScript, Arch: bootsvc.ArchUnknown},
	"script/5254007700af?arch=x86_64&platform=efi&uuid=00aa-1&choice=d@7&new=%00": {
		Kind: Script, MAC: mac, Known: true, Arch: bootsvc.ArchX64, UUID: "00aa-1", Choice: "d@7"},
	"script/5254007700af?arch=i386&platform=pcbios&uuid=../..&choice=../d@1": {Kind: Script, MAC: mac, Known: true, Arch: bootsvc.ArchBIOS},
}

func TestANameStandsForWhatMachinesMean(t *testing.T) {
	for s, want := range names {
		if got, err := Parse(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	want := names["boot/debian12@3/kernel"]
	if got, err := ParseURL("/boot/debian12%403/kernel"); err != nil || got != want {
		t.Errorf("as iPXE writes it: %+v, %v", got, err)
	}
}

// tricks are names that lead out of a tree, or mean one thing to one reader and another to the next.
var tricks = []string{
	"", "/", ".", "..", "ipxe", "ipxe/", "//boot.ipxe", "/../boot.ipxe", "../etc/passwd", "ipxe/../ipxe/undionly.kpxe", "ipxe//undionly.kpxe",
	"/etc/passwd", `..\..\boot.ini`, `ipxe\undionly.kpxe`, "IPXE/undionly.kpxe", "boot.ipxe\x00.txt", "boot.ipxe/", "boot.ipxe ", "./boot.ipxe",
	"%2e%2e/boot.ipxe", "%62oot.ipxe", "ipxe%2fundionly.kpxe", "script/", "script/..", "script/52-54-00-77-00", "script/52-54-00-77-00-af/", "script/%35254007700af",
	"grub/.cfg", "grub/x86_64-efi/command.lst", "grub/52-54-00-77-00-af", "boot/", "boot/@1/kernel", "boot/d/kernel", "boot/d@/kernel", "boot/d@-1/kernel",
	"boot/d@+1/kernel", "boot/d@01/kernel", "boot/d@1", "boot/d@1/", "boot/d@1/kernel/", "boot/d@1/../image", "boot/../d@1/kernel", "boot/.d@1/kernel",
	"boot/d@1//kernel", "boot/d@1/0123456789abcde/kernel", "boot/d@1/0123456789ABCDEF/kernel", "boot/d@1/0123456789abcdef/", "boot/d@1/0123456789abcdef//kernel",
	"boot/d@1/................/kernel", "boot/a@1@2/kernel", "boot/d@1/passwd", "boot/d/e@1/kernel", "boot/d@4294967295/kernel", "boot/d@4294967296/kernel", "boot/d@1/kernel?mac=x",
	"boot/" + strings.Repeat("d", 65) + "@1/kernel", "revocations_sku.efi", "shim_certificate_0.efi", strings.Repeat("a", 70_000), "boot.ipxe?" + strings.Repeat("a", MaxName),
}

func TestANameWithATrickDoesNotExist(t *testing.T) {
	for _, s := range tricks {
		if n, err := Parse(s); err == nil || n.Kind != 0 {
			t.Errorf("%.80q is read as %+v", s, n)
		}
		if n, err := ParseURL(s); err == nil || n.Kind != 0 {
			t.Errorf("%.80q in a URL is read as %+v", s, n)
		}
	}
}

// What is read is one of a few things, and everything in it is plain.
func FuzzParse(f *testing.F) {
	for s := range names {
		f.Add(s)
	}
	for _, s := range tricks {
		f.Add(s[:min(len(s), 2*MaxName)])
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if u, err := ParseURL(s); err == nil && !strings.Contains(s, "%") && u != n {
			t.Errorf("%q is %+v, and %+v in a URL", s, n, u)
		}
		if err != nil {
			if n != (Name{Arch: bootsvc.ArchUnknown}) {
				t.Errorf("%q: %v, and yet %+v", s, err, n)
			}
			return
		}
		// Written anew it is the same, so that nothing of s was left aside but letter case and separators.
		again := map[Kind]string{
			Loader: n.Loader, AnyScript: "boot.ipxe", AnyGRUB: "grub/grub.cfg", Script: "script/" + n.MAC.String(), GRUB: "grub/" + n.MAC.String() + ".cfg",
			BootFile: "boot/" + n.VDisk + "@" + strconv.FormatUint(uint64(n.Version), 10) + "/" + n.Content + strings.Repeat("/", min(1, len(n.Content))) + string(n.File),
		}[n.Kind]
		path, _, _ := strings.Cut(s, "?")
		flat := strings.NewReplacer("-", "", ":", "")
		if !strings.EqualFold(flat.Replace(strings.TrimPrefix(path, "/")), flat.Replace(again)) {
			t.Errorf("%q is read as %q", s, again)
		}
		for _, text := range []string{n.VDisk, n.UUID, n.Choice} {
			if strings.ContainsAny(text, "/\\%$ ") || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%q has %q in it", s, text)
			}
		}
		if n.Card != (parts.Card{}) && (n.File != bootsvc.Image || !strings.Contains(s, "card=01-")) {
			t.Errorf("%q is asked for by %v", s, n.Card)
		}
		if n.Version == math.MaxUint32 || strings.Contains(path, "..") && n.Kind != BootFile {
			t.Errorf("%q is read as %+v", s, n)
		}
	})
}
