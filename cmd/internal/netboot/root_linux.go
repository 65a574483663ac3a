package netboot

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootline"
)

// root finds and mounts the root file system.
func (m *machine) root() error {
	// Open until the root is mounted: when nobody uses the disk any more the kernel drops what it has read of it.
	if f, err := os.Open(m.disk.Device); err == nil {
		defer f.Close()
	}
	v, err := locate(m.disk.Device, m.line.Device)
	if err != nil {
		return err
	}
	kinds := strings.Split(m.line.Type, ",")
	if m.line.Type == "" || m.line.Type == "auto" {
		if !v.Known {
			return fmt.Errorf("%s has no file system that is known (ext4, xfs, btrfs, squashfs, erofs); name it with rootfstype=", v.Device)
		}
		kinds = []string{v.FS.Type}
	}
	readOnly := m.line.ReadOnly || v.FS.ReadOnly
	var errs []error
	for _, kind := range kinds {
		m.modules.load(kind)
		if m.line.Root == bootline.RootOverlay {
			m.modules.load("overlay")
			err = mountOverlay(v.Device, kind, m.line.Flags, overlaySize(m.line))
		} else {
			err = mountRoot(v.Device, kind, m.line.Flags, readOnly)
		}
		if err == nil {
			m.con.linef("root: %s, %s", v, how(m.line, readOnly))
			return nil
		}
		errs = append(errs, err)
		unmountRoot()
	}
	return errors.Join(errs...)
}

func how(line bootline.Line, readOnly bool) string {
	switch {
	case line.Root == bootline.RootOverlay:
		return "writes go to an overlay in memory, at most " + overlaySize(line)
	case readOnly:
		return "read-only"
	default:
		return "writes go to the write cache"
	}
}

// overlaySize is the size of the overlay as tmpfs takes it: that of the write cache, which an overlay stands for.
func overlaySize(line bootline.Line) string {
	if line.CacheBytes > 0 {
		return fmt.Sprintf("%dk", line.CacheBytes>>10)
	}
	return fmt.Sprintf("%d%%", line.CachePercent)
}

// locate finds the volume that root= names on the attached disk. No other disk of the machine is looked at.
func locate(disk, root string) (volume, error) {
	for end := sinceStart() + devicePatience; ; time.Sleep(devicePoll) {
		all, err := volumes(disk)
		if err != nil {
			return volume{}, err
		}
		v, err := findRoot(root, all)
		missing := slices.IndexFunc(all, func(v volume) bool { _, err := os.Stat(v.Device); return err != nil })
		switch _, absent := os.Stat(v.Device); {
		case err == nil && absent == nil:
			return v, nil
		case missing < 0:
			return v, err
		case sinceStart() > end:
			return v, fmt.Errorf("the kernel shows no %s, although the partition table of the vDisk has it: is nbd loaded with max_part=0?", all[missing].Device)
		}
		rescan(disk)
	}
}

// rescan lets the kernel read the partition table again.
func rescan(disk string) {
	if f, err := os.Open(disk); err == nil {
		_ = unix.IoctlSetInt(int(f.Fd()), unix.BLKRRPART, 0) // what comes of it is looked for
		f.Close()
	}
}

// volumes are the disk and its partitions, and what they hold.
func volumes(disk string) ([]volume, error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, parts, err := volumesOf(disk, f)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		v := volume{Device: fmt.Sprintf("%sp%d", disk, p.Number), Number: p.Number, Part: p}
		if part, err := os.Open(v.Device); err == nil {
			v.FS, v.Known, err = probeHead(part)
			part.Close()
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", v.Device, err)
			}
		}
		all = append(all, v)
	}
	return all, nil
}

func volumesOf(disk string, f *os.File) ([]volume, []partition, error) {
	whole := volume{Device: disk}
	h, err := newHead(f)
	if err == nil {
		whole.FS, whole.Known, err = probe(h)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", disk, err)
	}
	parts, err := partitions(h)
	if err != nil {
		return nil, nil, fmt.Errorf("read the partition table of %s: %w", disk, err)
	}
	return []volume{whole}, parts, nil
}

func probeHead(f *os.File) (filesystem, bool, error) {
	h, err := newHead(f)
	if err != nil {
		return filesystem{}, false, err
	}
	return probe(h)
}
