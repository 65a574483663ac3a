//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// workerStatus is `spate-target status` by the program that the machine was booted with.
const workerStatus = `for p in /proc/[0-9]*; do IFS= read -r -d '' a < $p/cmdline; case $a in @spate-worker*) $p/exe status; esac; done 2>&1; true`

// When the write cache is full writes wait, which the console and `spate-target status` say; nothing fails, and what the disk holds
// can be read: writes that wait take neither the kernel's requests nor the worker's memory from reads, and files keep no time of their
// last read, for which the file system would write. A reset makes the machine anew.
func TestAFullWriteCacheIsToldAndCanStillBeRead(t *testing.T) {
	l, _ := withFarm(t, vmlab.FarmOptions{WriteCache: "ram:64M"})
	m := l.Boot(vmlab.Hardware{Reboot: true})
	settles(t, m)
	remember(t, m)
	// Large writes, as many as there are of a file that is written back, and more small ones than the kernel gives to nbd at once.
	m.MustRun("(head -c 40M /dev/urandom > /run/big; cat /run/big > /var/tmp/big; for i in $(seq 160); do dd if=/run/big of=/var/tmp/small.$i skip=$((i*40)) bs=4k count=400 oflag=direct & done; cat /run/big /run/big > /var/tmp/bigger; sync) > /dev/null 2>&1 &", seconds)
	m.WaitLine("spate: write cache is full (64 MiB): writes wait", m.Uptime()+time.Minute)
	if out := m.MustRun(workerStatus, seconds); !strings.Contains(out, "write 64 of 64 MiB, FULL: ") {
		t.Errorf("status does not say that writes wait:\n%s", out)
	}
	const allWait = `a=; until b=$(cat /sys/block/nbd0/inflight); [ "$a" = "$b" ]; do a=$b; sleep 1; done; echo $b`
	t.Logf("reads and writes in flight: %s", m.MustRun(allWait, time.Minute))
	fresh(t, m, 0)
	if out := m.MustRun("echo 1 > /proc/sys/vm/drop_caches; sha256sum --quiet -c /run/sums && echo all good", time.Minute); !strings.HasSuffix(out, "all good") {
		t.Errorf("files cannot be read any more:\n%s", out)
	}
	healthy(t, m)
	begin := m.Next()
	if err := m.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.AwaitLine(vmlab.Within(t, toSystem), begin, "MARK settled state=running failed=[]"); err != nil {
		t.Fatal(err)
	}
	healthy(t, m)
}
