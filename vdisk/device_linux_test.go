package vdisk

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// loopDevice makes a block device of a file, with sectors of 4096 bytes.
func loopDevice(t *testing.T, file string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("making a block device takes root")
	}
	if _, err := exec.LookPath("losetup"); err != nil {
		t.Skip("losetup is not there; install the Debian package mount")
	}
	out, err := exec.Command("losetup", "--find", "--show", "--read-only", "--sector-size", "4096", file).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	return device
}

// A block device is imported as a raw image of its size is; the vDisk has the device's sectors.
func TestABlockDeviceIsImportedWithItsSectors(t *testing.T) {
	disk := image(72, 5<<20+4096)
	clear(disk[1<<20 : 3<<20])
	o := importOptions(loopDevice(t, imageFile(t, "disk.img", disk)), t.TempDir())
	o.Name = "device"
	var last Progress
	o.Progress = func(p Progress) { last = p }
	r, err := Import(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Format != FormatRaw || r.Shape.SectorSize != 4096 || r.Shape.Size != int64(len(disk)) || r.ZeroBytes < 2<<20 {
		t.Errorf("%+v", r)
	}
	if last.Total != int64(len(disk)) {
		t.Errorf("last progress %+v", last)
	}
	same(t, r.Path, disk)
}
