package tftp

import (
	"strings"
	"testing"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/files/filestest"
)

// What a client can take is more than the network: a block in fragments does not reach firmware that cannot put them together.
func TestNoBlockIsLargerThanAFrame(t *testing.T) {
	l := start(t)
	for asked, want := range map[string]string{"512": "512", "1468": "1468", "1469": "1468", "1472": "1468", "8192": "1468", "65464": "1468"} {
		m := l.machine("127.0.0.1")
		if got := m.options(request(opRead, "boot/debian12@3/kernel", "blksize", asked))["blksize"]; got != want {
			t.Errorf("asked for blocks of %s bytes, the server agrees to %s", asked, got)
		}
		m.abort(8, "that is all")
	}
}

// An address that went from one machine to the next is the next one's, whatever the other one said there.
func TestWhatAMachineLoadsIsToldOfTheOneThatHasItsAddress(t *testing.T) {
	l := start(t)
	load := func(name string) bootsvc.Event {
		m := l.machine("127.0.0.1") // whose address that of filestest.MAC is
		m.options(request(opRead, name, "blksize", "1432"))
		m.rest(1432, 1)
		return l.farm.Event()
	}
	if e := load("grub/52:54:00:99:00:01.cfg"); e.MAC == filestest.MAC {
		t.Errorf("of a machine that names itself is told %+v", e)
	}
	if e := load("ipxe/snponly.efi"); e.MAC != filestest.MAC {
		t.Errorf("of the one that has the address is told %+v", e)
	}
}

// The person who looks for the reason sees what the machine asked for.
func TestAFileThatDoesNotExistIsToldOfTheMachine(t *testing.T) {
	l := start(t)
	m := l.machine("127.0.0.1")
	m.send(request(opRead, "pxelinux.0"))
	if op, _ := m.receive(); op != opError {
		t.Errorf("answered by %d", op)
	}
	if e := l.farm.Event(); !e.Problem || e.MAC != filestest.MAC || e.Service != "tftp" || !strings.Contains(e.Text, `asks for "pxelinux.0"`) {
		t.Errorf("told %+v", e)
	}
}
