//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spate-project/spate/cmd/internal/system/lab"
	"github.com/spate-project/spate/cmd/internal/vmlab"
	"github.com/spate-project/spate/vdisk"
)

// building is how long Debian's packages may take to become a vDisk: 80 s on a quiet machine that has them near.
const building = 10 * time.Minute

// What one command makes of Debian's packages boots from the network to its log-in prompt, takes the password that the command was
// given and no other one, and works without a failed unit.
func TestAMachineBootsWhatBuildMakesOfDebiansPackages(t *testing.T) {
	l := vmlab.New(t)
	made, err := build()
	if err != nil {
		t.Fatal(err)
	}
	const password = "Mond-7 & Co"
	dir := t.TempDir()
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	err = vmlab.Outside(func() error {
		_, err := lab.Run(vmlab.Within(t, building), filepath.Join(made.bin, "spate"), "vdisk", "build", "--mmdebstrap", "bookworm", "--size", "2G",
			"--kernel-package", "linux-image-cloud-amd64", "--name", vmlab.VDisk, "--store", dir, "--root-password-file", file)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %.0f s", time.Since(begin).Seconds())
	l.Farm(vmlab.FarmOptions{Bin: made.bin, Disk: filepath.Join(dir, vdisk.FileName(vmlab.VDisk, 0))})

	m, at := l.Boot(vmlab.Hardware{}), 0
	for _, c := range []struct{ says, answer string }{
		{"login: ", "root"}, {"Password: ", "another one"}, {"Login incorrect", ""},
		{"login: ", "root"}, {"Password: ", password},
		{"root@", "echo state=$(systemctl is-system-running --wait) failed=[$(systemctl --failed --no-legend --plain)] $(findmnt -no SOURCE /)"},
		{"state=running failed=[] /dev/", "poweroff"},
	} {
		line, next, err := m.AwaitLine(vmlab.Within(t, toSystem), at, c.says)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%.1f s: %s", line.At.Seconds(), line.Text)
		if at = next; c.answer == "" {
			continue
		}
		at = m.Next() + 1 // behind the line of the prompt, on which the answer stands too
		if err := m.Type(c.answer + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	m.WaitEnd(2 * toSystem)
}
