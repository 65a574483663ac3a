//go:build system

package system

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/agent"
	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/cmd/internal/nbd"
	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/stream/secure"
)

// read starts `spate-target read --discard` with these flags.
func read(t testing.TB, flags ...string) *lab.Process {
	t.Helper()
	return start(t, lab.Spawn{
		Name: "read", Args: append([]string{program("spate-target"), "read", "--discard"}, flags...), Env: []string{agent.FolderVariable + "=" + folder(t)},
	})
}

// noticeWithin is the promise, 3 s, with room for a busy machine.
const noticeWithin = 6 * time.Second

// asked waits for the sentence of a target that finds no server, and checks that it came in time.
func asked(t testing.TB, p *lab.Process, began time.Time, words ...string) {
	t.Helper()
	line := logged(t, p, words[0])
	took := time.Since(began)
	t.Logf("after %s: %s", took.Round(10*time.Millisecond), line)
	if took > noticeWithin {
		t.Errorf("said after %s", took)
	}
	for _, w := range words {
		if !strings.Contains(line, w) {
			t.Errorf("%q is not in: %s", w, line)
		}
	}
}

// A target that finds no server says within 3 s whom it asked and what may be wrong, and goes on asking: a server that
// comes serves it.
func TestATargetWithoutServersSaysWhomItAsked(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 2})
	began := time.Now()
	p := read(t, f.LoginFlags()...)
	asked(t, p, began, f.Servers[0].Addr.String(), f.Servers[1].Addr.String(), "down", "port", "key")
	ok(t, f.Start(soon(t)))
	await(t, p, "bytes read and verified")
}

// With the key of another farm nobody answers, and the target says that the key may be the reason.
func TestAWrongFarmKeyIsSuspected(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 1})
	var secret [32]byte
	rand.Read(secret[:])
	other := secure.NewFarm(secret).Public().String()
	began := time.Now()
	p := read(t, "--server", f.Servers[0].Addr.String(), "--farm-key", other, "--vdisk", lab.VDisk)
	asked(t, p, began, f.Servers[0].Addr.String(), "farm key of another farm")
}

// A key with a typing mistake is refused before anything is sent.
func TestAMistypedFarmKeyIsNamed(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 1})
	i := len(f.Key) / 2
	wrong := f.Key[:i] + string([]byte{f.Key[i] ^ 1}) + f.Key[i+1:]
	p := read(t, "--server", f.Servers[0].Addr.String(), "--farm-key", wrong, "--vdisk", lab.VDisk)
	status, err := p.Wait(soon(t))
	ok(t, err)
	if status != 1 || !strings.Contains(p.Log.String(), "--farm-key") {
		t.Errorf("status %d:\n%s", status, p.Log)
	}
}

// A vDisk that the farm does not have, and a version that the vDisk does not have, are denied with a sentence.
func TestAnUnknownVDiskIsDeniedWithASentence(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 2})
	for _, name := range []string{"debian99", lab.VDisk + "@7"} {
		p := read(t, "--server", f.Servers[0].Addr.String(), "--server", f.Servers[1].Addr.String(), "--farm-key", f.Key, "--vdisk", name)
		status, err := p.Wait(soon(t))
		ok(t, err)
		word, version, _ := strings.Cut(name, "@")
		if said := p.Log.String(); status != 1 || !strings.Contains(said, word) || !strings.Contains(said, version) || !strings.Contains(said, ".") {
			t.Errorf("%s: status %d:\n%s", name, status, p.Log)
		}
	}
}

// A device that the farm file does not name is denied where it must be known.
func TestAnUnknownDeviceIsDeniedWithASentence(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 1, Devices: []string{"02:00:00:00:00:01"}})
	text := strings.Replace(f.Text(), "login: open", "login: known", 1)
	text = strings.Replace(text, "policy:\n  unknown: all\n", "policy:\n", 1)
	ok(t, os.WriteFile(f.File, []byte(text), 0o644))
	ok(t, f.Start(soon(t)))
	p := read(t, append(f.LoginFlags(), "--mac", "02:00:00:00:00:99")...)
	status, err := p.Wait(soon(t))
	ok(t, err)
	if status != 1 || !strings.Contains(p.Log.String(), "02:00:00:00:00:99") {
		t.Errorf("status %d:\n%s", status, p.Log)
	}
	known := read(t, append(f.LoginFlags(), "--mac", "02:00:00:00:00:01")...)
	await(t, known, "bytes read and verified")
}

// Where a collection has a key of its own, a target with another one gets no answer and is told what may be wrong; one
// with the right key is served.
func TestAWrongSharedKeyIsNotAnswered(t *testing.T) {
	f := newFarm(t, lab.Options{Servers: 1})
	right, wrong := filepath.Join(f.Dir, "right.psk"), filepath.Join(f.Dir, "wrong.psk")
	for _, path := range []string{right, wrong} {
		ok(t, os.WriteFile(path, []byte(keyfile.Text(keyfile.Generate())), keyfile.Mode))
	}
	text := strings.Replace(f.Text(), "    login: open\n", "    login: open\n    psk_file: "+right+"\n", 1)
	ok(t, os.WriteFile(f.File, []byte(text), 0o644))
	ok(t, f.Start(soon(t)))
	await(t, read(t, append(f.LoginFlags(), "--psk-file", right)...), "bytes read and verified")
	began := time.Now()
	asked(t, read(t, append(f.LoginFlags(), "--psk-file", wrong)...), began, f.Servers[0].Addr.String(), "--psk-file")
}

// Reads wait for ever when all servers are gone, and go on when one is back; with --fail-after they fail with EIO then.
func TestReadsWaitForServersUnlessToldToFail(t *testing.T) {
	f := startFarm(t, lab.Options{Servers: 1})
	patient, other := attach(t, f, "patient"), attach(t, f, "impatient", "--fail-after", "1s")
	r := readAllTheTime(t, patient)
	r.goesOn()
	d := open(t, other)
	f.Servers[0].Kill()
	began := time.Now()
	buf := make([]byte, 4096)
	var err error
	for off := int64(0); err == nil && off < d.Size(); off += 1 << 20 { // what it has in its cache is still read
		err = d.ReadAt(t.Context(), buf, off)
	}
	if !errors.Is(err, nbd.EIO) {
		t.Fatalf("with --fail-after 1s: %v", err)
	}
	if took := time.Since(began); took < time.Second || took > noticeWithin {
		t.Errorf("with --fail-after 1s it failed after %s", took)
	}
	before := r.read()
	time.Sleep(500 * time.Millisecond)
	if now := r.read(); now > before {
		t.Errorf("%d bytes came from nowhere", now-before)
	}
	await(t, patient.Process, f.Servers[0].Addr.String())
	ok(t, f.Servers[0].Start())
	_, err = f.Servers[0].Await(soon(t), "ready")
	ok(t, err)
	r.goesOn()
	eventually(t, "the impatient target reads again", func() bool {
		return d.ReadAt(t.Context(), buf, d.Size()-4096) == nil
	})
	t.Logf("longest read while the only server was away: %s", r.end().Round(time.Millisecond))
}
