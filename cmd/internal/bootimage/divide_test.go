package bootimage

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc/parts"
	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// kernelOfTwo is a kernel with cards of which some are common: two makers have cards of both kinds.
func kernelOfTwo(t *testing.T) string {
	t.Helper()
	dir := unpackedKernel(t)
	drivers := filepath.Join(dir, "lib/modules", version, "kernel/drivers")
	for name, fields := range map[string][]string{
		"net/ethernet/e1000e": {"depends=ptp", "alias=pci:v00008086d000015B8sv*sd*bc*sc*i*", "alias=pci:v00008086d00001533sv*sd*bc*sc*i*", "alias=pci:v00008086d000010D3sv*sd*bc*sc*i*"},
		"net/ethernet/r8169":  {"softdep=pre: realtek", "alias=pci:v000010ECd00008168sv*sd*bc*sc*i*", "alias=pci:v000010ECd00008129sv00001186sd*bc*sc*i*", "firmware=rtl/*.fw"},
		"net/phy/realtek":     {"depends=libphy", "alias=mdio:0000000000011100????????????????"},
		"net/phy/libphy":      nil,
		"net/phy/broadcom":    {"depends=libphy", "alias=mdio:1"},
		"ptp/ptp":             nil,
		"virtio/virtio_pci":   {"alias=pci:v00001AF4d*sv*sd*bc*sc*i*"},
		// one shares a maker, one takes a card of another driver, one takes all of a class that no card has
		"net/ethernet/ice":  {"depends=ptp", "alias=pci:v00008086d00001592sv*sd*bc*sc*i*", "firmware=ice.pkg"},
		"net/ethernet/tg3":  {"depends=libphy,ptp", "alias=pci:v00008086d000010D3sv*sd*bc*sc*i*"},
		"usb/host/xhci_pci": {"depends=xhci", "alias=pci:v*d*sv*sd*bc0Csc03i30*"},
		"usb/host/xhci":     nil,
	} {
		write(t, filepath.Join(drivers, name+".ko"), module(fields...))
	}
	return dir
}

// What a machine with a common card loads is enough for it: its list names what is there, and nothing that is there needs what is
// not. Both parts together are what an image without parts has.
func TestTheFirstPartIsCompleteAndBothTogetherAreTheWhole(t *testing.T) {
	dir, out, firmware := kernelOfTwo(t), filepath.Join(t.TempDir(), "boot.img"), t.TempDir()
	for _, name := range []string{"rtl/a.fw", "rtl/b.fw", "ice.pkg"} {
		write(t, filepath.Join(firmware, name), []byte(name))
	}
	extra := folderWith(t, "ice.pkg")
	r, whole := build(t, Options{Modules: dir, Out: out, Firmware: firmware, Add: []Extra{{extra, "/lib/firmware"}}})
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	first := map[string][]byte{}
	for _, archive := range archives(t, b)[:2] {
		unpackAs(t, archive, first)
	}
	list, all := listOf(t, first), listOf(t, whole)
	if !list.First || all.First {
		t.Errorf("the first part's list says so: %v, the whole one's: %v", list.First, all.First)
	}
	var inFirst []string
	for _, m := range list.Modules {
		inFirst = append(inFirst, m.Name)
		for _, n := range slices.Concat(m.Later, needs(m)) {
			if _, ok := list.Lookup(n); !ok {
				t.Errorf("%s of the first part needs %s", m.Name, n)
			}
		}
		if full, ok := all.Lookup(m.Name); !ok || full.Path != m.Path || !slices.Equal(full.Needs, m.Needs) || first[m.Path[1:]] == nil {
			t.Errorf("%s is another module in the whole: %+v, %+v", m.Name, m, full)
		}
	}
	want := strings.Fields("crc16 crc32c_generic crc32c_intel dca e1000e ext4 igb jbd2 libphy nbd net_failover ptp r8169 realtek virtio_net virtio_pci")
	if !slices.Equal(inFirst, want) {
		t.Errorf("the first part has %v", inFirst)
	}
	for name := range whole {
		if strings.HasSuffix(name, ".ko") && len(all.Modules) != len(inFirst)+8 {
			t.Fatalf("%d modules, %d in the first part", len(all.Modules), len(inFirst))
		}
		if _, ok := first[name]; !ok && !strings.HasPrefix(name, "lib/") {
			t.Errorf("%s is in the second part only", name)
		}
	}
	if first["lib/firmware/rtl/b.fw"] == nil || first["lib/firmware/ice.pkg"] == nil || string(whole["lib/firmware/ice.pkg"]) != "x" {
		t.Error("firmware of the first part is not there, or what was added does not count most")
	}
	if p := r.Parts; p == nil || p.First+p.Second != r.Bytes || p.First >= r.Bytes || !slices.Equal(p.Contested, []string{"tg3"}) {
		t.Errorf("reported: %+v of %d bytes", r.Parts, r.Bytes)
	}
	for _, m := range r.Modules {
		if (m.Part == 1) != slices.Contains(inFirst, m.Name) {
			t.Errorf("reported: %+v", m)
		}
	}

	sameWithoutParts(t, whole, Options{Modules: dir, Firmware: firmware, Add: []Extra{{extra, "/lib/firmware"}}, MoreModules: []string{"every"}})
}

// sameWithoutParts makes the image again with a module that takes all cards and keeps both parts together.
func sameWithoutParts(t *testing.T, whole map[string][]byte, o Options) {
	t.Helper()
	all := listOf(t, whole)
	write(t, filepath.Join(o.Modules, "lib/modules", version, "kernel/drivers/net/every.ko"), module("alias=pci:v*d*sv*sd*bc*sc*i*"))
	undivided, today := build(t, o)
	without := listOf(t, today)
	without.Modules = slices.DeleteFunc(without.Modules, func(m modules.Module) bool { return m.Name == "every" })
	without.Aliases = slices.DeleteFunc(without.Aliases, func(a modules.Alias) bool { return a.Name == "every" })
	if !reflect.DeepEqual(without.Modules, all.Modules) || !slices.Equal(without.Aliases, all.Aliases) || !slices.Equal(without.Base, all.Base) {
		t.Error("the list of both parts is not that of an image without parts")
	}
	delete(whole, parts.File)
	delete(today, "lib/modules/"+version+"/kernel/drivers/net/every.ko")
	whole[modules.File[1:]] = today[modules.File[1:]]
	if undivided.Parts != nil || !maps.EqualFunc(today, whole, bytes.Equal) {
		t.Errorf("without parts there is something else: %v\n%v", sorted(today), sorted(whole))
	}
}

func needs(m modules.Module) (names []string) {
	for _, n := range m.Needs {
		names = append(names, n.Name)
	}
	return names
}

// Every card that the head names is driven by the first part, and by nothing that the second part adds.
func TestTheHeadNamesCardsThatTheFirstPartDrivesAndNothingElseDoes(t *testing.T) {
	out := filepath.Join(t.TempDir(), "boot.img")
	_, whole := build(t, Options{Modules: kernelOfTwo(t), Out: out})
	b, _ := os.ReadFile(out)
	h, err := parts.Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	first := map[string][]byte{}
	unpackAs(t, archives(t, b)[1], first)
	list, all := listOf(t, first), listOf(t, whole)
	// Not 8086:10d3, which two drivers take, 10ec:8129, which is only that of one maker of boards.
	want := []parts.Card{{Vendor: 0x10ec, Device: 0x8168}, {Vendor: 0x8086, Device: 0x1521}, {Vendor: 0x8086, Device: 0x1533}, {Vendor: 0x8086, Device: 0x15b8}}
	if !slices.Equal(h.Cards, want) || !slices.Equal(h.Vendors, []uint16{0x1af4}) {
		t.Errorf("%v, vendors %#v", h.Cards, h.Vendors)
	}
	for _, c := range append(h.Cards, parts.Card{Vendor: 0x1af4, Device: 0x1000}) {
		for _, rest := range []string{"sv00001AF4sd00000001bc02sc00i00", "sv00008086sd0000FFFFbc02sc80i01"} {
			alias := "pci:v0000" + strings.ToUpper(strings.Replace(c.String(), ":", "d0000", 1)) + rest
			alias = strings.Replace(alias, "D0000", "d0000", 1)
			if got := list.Match(alias); len(got) == 0 || !slices.Equal(got, all.Match(alias)) {
				t.Errorf("%s is driven by %v of the first part, and by %v of all", alias, got, all.Match(alias))
			}
		}
	}
}

// A driver that takes cards of all makers empties the list, and that is said.
func TestADriverOfAllCardsKeepsTheImageWhole(t *testing.T) {
	for name, c := range map[string]struct {
		alias, want string
		o           Options
	}{
		"everything":  {"pci:v*d*sv*sd*bc02sc00i*", "take all common cards too: every", Options{MoreModules: []string{"every"}}},
		"nothing":     {"pci:v*d*sv*sd*bc03sc00i*", "", Options{MoreModules: []string{"every"}}},
		"no other":    {"", "needs all of it", Options{Cards: []string{"igb"}}},
		"none common": {"", "no driver of a common card", Options{Cards: []string{"rare"}}},
	} {
		dir := kernelOfTwo(t)
		kernel := filepath.Join(dir, "lib/modules", version, "kernel")
		write(t, filepath.Join(kernel, "drivers/net/every.ko"), module("alias="+c.alias))
		if name == "no other" { // nor an overlay, which is in no first part
			if err := os.Remove(filepath.Join(kernel, "fs/overlayfs/overlay.ko")); err != nil {
				t.Fatal(err)
			}
		}
		c.o.Modules = dir
		if r, _ := build(t, c.o); (r.Parts == nil) != (c.want != "") || !strings.Contains(r.Whole, c.want) {
			t.Errorf("%s: %+v, %q", name, r.Parts, r.Whole)
		}
	}
}

// --module promises that it is loaded for its device, which a machine with a common card can have; the driver of another network card it
// does not need.
func TestAModuleThatWasAskedForIsInTheFirstPartUnlessItDrivesANetworkCard(t *testing.T) {
	dir, out := kernelOfTwo(t), filepath.Join(t.TempDir(), "boot.img")
	for name, alias := range map[string]string{"char/virtio-console": "virtio:d00000003v*", "net/ethernet/nfp": "pci:v000019EEd00004000sv*sd*bc*sc*i*"} {
		write(t, filepath.Join(dir, "lib/modules", version, "kernel/drivers", name+".ko"), module("depends=xhci", "alias="+alias))
	}
	r, _ := build(t, Options{Modules: dir, Out: out, MoreModules: []string{"virtio-console", "nfp"}})
	part := map[string]int{}
	for _, m := range r.Modules {
		part[m.Name] = m.Part
	}
	if part["virtio_console"] != 1 || part["xhci"] != 1 || part["nfp"] != 2 {
		t.Errorf("parts: %v", part)
	}
}

// What is built into the kernel drives its cards in any case.
func TestABuiltInDriversCardsNeedTheFirstPartOnly(t *testing.T) {
	dir, out := kernelOfTwo(t), filepath.Join(t.TempDir(), "boot.img")
	folder := filepath.Join(dir, "lib/modules", version)
	if err := os.Remove(filepath.Join(folder, "kernel/drivers/virtio/virtio_pci.ko")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "modules.builtin"), []byte("kernel/net/packet/af_packet.ko\nkernel/drivers/virtio/virtio-mmio.ko\nkernel/drivers/virtio/virtio_pci.ko\n"))
	write(t, filepath.Join(folder, "modules.builtin.modinfo"), []byte("virtio_pci.license=GPL\x00virtio_pci.alias=pci:v00001AF4d*sv*sd*bc*sc*i*\x00xz.alias=pci:v00001111d*sv*sd*bc*sc*i*\x00"))
	build(t, Options{Modules: dir, Out: out})
	b, _ := os.ReadFile(out)
	if h, err := parts.Read(bytes.NewReader(b), int64(len(b))); err != nil || !slices.Equal(h.Vendors, []uint16{0x1af4}) {
		t.Errorf("%+v, %v", h, err)
	}
}

// Kernels take archives one behind the other, packed or not; so does Show, and it tells what they would not take.
func TestArchivesBehindOneAnotherAreAllShown(t *testing.T) {
	archive := func(how, name string) []byte {
		c := contents{}
		c.file(name, 0o644, []byte("some text"))
		var b bytes.Buffer
		if _, err := c.write(t.Context(), &b, true, func(int64) {}); err != nil {
			t.Fatal(err)
		}
		return packed(how, b.Bytes())
	}
	zeros := make([]byte, 512)
	odd := append(archive(".zst", "a"), make([]byte, 5-len(archive(".zst", "a"))%4)...)
	for name, c := range map[string]struct {
		bytes     []byte
		want, how string
		err       string
	}{
		"each way":                    {slices.Concat(archive("", "a"), archive(".zst", "b"), zeros, archive(".gz", "c"), archive(".zst", "d"), zeros, archive("", "e"), archive(".xz", "f")), "a b c d e f", "none, zstd, gzip, xz", ""},
		"something else at the end":   {append(archive(".zst", "a"), "rubbish"...), "a", "zstd, none", "damaged boot image"},
		"a page at the end":           {append(archive(".gz", "a"), strings.Repeat("rubbish ", 100)...), "a", "gzip, none", "what follows a is no archive"},
		"a second one that is cut":    {append(archive(".zst", "a"), archive(".zst", "b")[:40]...), "a", "zstd", "damaged boot image"},
		"not packed, at an odd place": {append(odd, archive("", "b")...), "a b", "zstd, none", "multiple of four"},
	} {
		all, how, err := Show(bytes.NewReader(c.bytes))
		var names []string
		for _, e := range all {
			names = append(names, e.Name)
		}
		if strings.Join(names, " ") != c.want || how != c.how || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, packed %s, %v", name, names, how, err)
		}
	}
	out := filepath.Join(t.TempDir(), "boot.img")
	r, _ := build(t, Options{Modules: kernelOfTwo(t), Out: out})
	b, _ := os.ReadFile(out)
	if _, _, err := Show(bytes.NewReader(b[:r.Parts.First])); err == nil || !strings.Contains(err.Error(), "the first of two parts ends at") {
		t.Errorf("without its second part: %v", err)
	}
}
