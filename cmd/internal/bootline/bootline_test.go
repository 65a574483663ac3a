package bootline

import (
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/ipxe"
)

var lines = []Line{
	{Servers: []string{"192.0.2.1:6910"}, FarmKey: "spate1x", VDisk: "debian12@3", CachePercent: 50, Root: RootBlock, Device: "/dev/nbd0", Init: "/sbin/init"},
	{Servers: []string{"192.0.2.1:6910", "[2001:db8::1]:6910", "farm.example"}, FarmKey: "spate1x", VDisk: "d", Content: "00ff12ab", CachePercent: 50, CacheBytes: 768 << 20,
		Root: RootOverlay, Shell: true, DeviceKey: "/etc/key", Card: net.HardwareAddr{0x52, 0x54, 0, 1, 2, 3},
		Device: "LABEL=root", Type: "xfs", Flags: "noatime", ReadOnly: true, Init: "/bin/busybox"},
}

func TestACommandLineIsReadAsItWasWritten(t *testing.T) {
	for _, want := range lines {
		got, mistakes := Parse("BOOT_IMAGE=kernel quiet " + want.String() + " console=ttyS0")
		if len(mistakes) != 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n got %+v\nwant %+v\n%q", want, got, want, mistakes)
		}
	}
}

// A shell needs the driver of a keyboard: a script for such a line asks for the whole boot image, and any other one says which card asks.
func TestAMachineThatMayHaveAShellLoadsTheWholeBootImage(t *testing.T) {
	for _, l := range lines {
		e := bootsvc.Entry{Choices: []bootsvc.Choice{{VDisk: "d", CommandLine: "quiet " + l.String()}}}
		f := bootsvc.Farm{Servers: []bootsvc.Server{{Name: "a", Addr: netip.MustParseAddr("192.0.2.1"), HTTP: 6980}}}
		if script := string(ipxe.Script(bootsvc.Client{}, e, f, "")); strings.Contains(script, "&card=${spate-card} ||") == l.Shell {
			t.Errorf("%s\n%s", l, script)
		}
	}
}

func TestEveryMistakeOfACommandLineIsNamed(t *testing.T) {
	l, mistakes := Parse("spate.server=1.2.3.4:0 spate.content=XY spate.write-cache=disk spate.root=tmpfs BOOTIF=01-52 spate.vdisk=d init=")
	if l.Init != standardInit {
		t.Errorf("init= stands for %q", l.Init)
	}
	all := strings.Join(mistakes, "\n")
	for _, want := range []string{"1.2.3.4:0", "ram:SIZE", "digits of the version's root", "block or overlay", "01-52", "spate.farm-key= is missing"} {
		if !strings.Contains(all, want) {
			t.Errorf("does not say %q:\n%s", want, all)
		}
	}
	for _, bad := range []string{"ram:0", "ram:91%", "ram:", "ram:9999999999G", "ram:1T"} {
		l, mistakes := Parse("spate.write-cache=" + bad)
		if len(mistakes) != 4 || l.CacheBytes != 0 || l.CachePercent != standardPercent {
			t.Errorf("%s: %+v %q", bad, l, mistakes)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, l := range lines {
		f.Add(l.String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, _ := Parse(text)
		again, _ := Parse(l.String())
		if l.Card == nil { // the card is read with any separator
			again.Card = nil
		}
		if l.String() != again.String() {
			t.Errorf("%q: %+v, then %+v", text, l, again)
		}
	})
}
