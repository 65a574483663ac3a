//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// What is done to a machine from inside it costs it nothing: the worker dies, the network changes under it.
func TestAMachineGoesOnWhateverIsDoneInsideIt(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{Memory: 1024})
	settles(t, m)
	remember(t, m)
	for i, c := range insides {
		t.Run(c.name, func(t *testing.T) { c.on(t, m.For(t), i) })
	}
	if _, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC); err != nil {
		t.Error(err)
	}
}

// readers read files past all caches and compare them, and one writes a file and reads it back, until /run/stop is there. What is
// wrong goes to /run/wrong, and how long each read of a file took, in ms, to /run/took.
const readers = "find /usr/lib -xdev -type f -size +100k -size -500k | sort | head -60 | xargs sha256sum > /run/list; rm -f /run/stop; : > /run/wrong; : > /run/took; " +
	"for i in 1 2 3; do (while [ ! -e /run/stop ]; do while read -r sum name; do " +
	"begin=$(date +%s%N); " +
	`[ "$(dd if=$name iflag=direct bs=128k status=none 2>> /run/wrong | sha256sum)" = "$sum  -" ] || echo "$name" >> /run/wrong; ` +
	"echo $((($(date +%s%N) - begin) / 1000000)) >> /run/took; [ ! -e /run/stop ] || break; " +
	"done < /run/list; done; echo read >> /run/stopped) > /dev/null 2>&1 & done; " +
	"(while [ ! -e /run/stop ]; do " +
	"head -c 4M /dev/urandom > /run/new; dd if=/run/new of=/var/tmp/new bs=64k oflag=direct status=none 2>> /run/wrong; " +
	"dd if=/var/tmp/new bs=64k iflag=direct status=none 2>> /run/wrong | cmp - /run/new >> /run/wrong 2>&1; " +
	"done; echo wrote >> /run/stopped) > /dev/null 2>&1 &"

// The worker dies again and again under reads and writes that go past all caches: each is answered rightly in the end, by the
// kernel asking again or by the next worker, and none twice.
func TestReadsAndWritesOutliveTheWorkerThatHadThem(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{})
	m := l.Boot(vmlab.Hardware{Memory: 1024})
	settles(t, m)
	remember(t, m)
	m.MustRun(readers, time.Minute)
	for range 6 {
		out := m.MustRun("before=$(wc -l < /run/took); for p in /proc/[0-9]*; do IFS= read -r -d '' a 2> /dev/null < $p/cmdline; case $a in @spate-worker*) kill -9 ${p#/proc/} && echo killed; esac; done 2> /dev/null; "+
			"while [ $(wc -l < /run/took) -lt $((before + 6)) ]; do sleep 0.2; done", time.Minute)
		if out != "killed" {
			t.Errorf("the worker: %q", out)
		}
	}
	out := m.MustRun("touch /run/stop /run/stopped; while [ $(wc -l < /run/stopped) -lt 4 ]; do sleep 0.2; done; cat /run/wrong; sort -n /run/took | tail -n 12 | tr '\\n' ' '; wc -l < /run/took", time.Minute)
	t.Logf("the slowest reads of a file in ms, and how many there were: %s", out)
	if wrong := m.MustRun("cat /run/wrong", seconds); wrong != "" {
		t.Errorf("read or written wrongly:\n%s", wrong)
	}
	check(t, m)
}

// The memory of a machine is full, more dirty pages wait for its disk than fit into it, and in the middle of that its server
// dies: everything is written in the end, and is what was written.
func TestAMachineUnderMemoryPressureSurvivesAFailover(t *testing.T) {
	l, f := withFarm(t, vmlab.FarmOptions{WriteCache: "ram:256M"})
	m := l.Boot(vmlab.Hardware{Memory: 1024, Translations: 32})
	settles(t, m)
	remember(t, m)
	// Files in memory that take a quarter of it, and a file on the disk that is rewritten in place with more than all of
	// it: in new places it would fill the write cache, and wait for ever.
	m.MustRun("head -c 128M /dev/zero > /dev/shm/hog", seconds)
	m.MustRun("(for i in $(seq 12); do head -c 100M /dev/urandom > /dev/shm/new; sha256sum < /dev/shm/new > /run/hog; dd if=/dev/shm/new of=/var/tmp/hog bs=1M conv=notrunc status=none; sync; done; echo done > /run/hogged) > /dev/null 2>&1 &", seconds)
	victim, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC)
	if err != nil {
		t.Fatal(err)
	}
	m.MustRun("sleep 8", seconds)
	if out := m.MustRun("cat /run/hogged 2>/dev/null; true", seconds); out != "" {
		t.Error("the writing was over before the server died")
	}
	victim.Kill()
	fresh(t, m, 0) // while the writing goes on; what is written stays in the machine and needs no server
	if _, _, err := f.Serving(vmlab.Within(t, seconds), m.MAC, f.Other(victim)); err != nil {
		t.Error(err)
	}
	// A process that wants more memory than there is, and is killed for it.
	if out := m.MustRun("head -c 1G /dev/zero | tail > /dev/null 2>&1; echo status $?", 2*time.Minute); !strings.HasSuffix(out, "status 137") {
		t.Errorf("the memory was not full: %s", out)
	}
	out := m.MustRun("while ! [ -e /run/hogged ]; do sleep 0.5; done; echo 3 > /proc/sys/vm/drop_caches; sha256sum < /var/tmp/hog | cmp - /run/hog && echo same", 5*time.Minute)
	if !strings.HasSuffix(out, "same") {
		t.Errorf("the file is not what was written: %s", out)
	}
	check(t, m)
}
