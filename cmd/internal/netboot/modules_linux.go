package netboot

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// loader loads the modules of the boot image. It belongs to one goroutine.
type loader struct {
	list  *modules.List
	buses index
	line  func(string)
	sys   string // where the kernel shows all devices

	done  map[string]bool // modules that were tried
	there map[string]bool // devices that were there at the last look, by their paths
	seen  map[string]bool // devices whose modules were tried, by modalias
	told  map[string]bool // network cards without a driver that were spoken of
	begin time.Duration
}

// newLoader reads the list of the boot image. A boot image without one has everything built into its kernel.
func newLoader(line func(string)) *loader {
	l := &loader{list: &modules.List{}, line: line, sys: "/sys", done: map[string]bool{}, seen: map[string]bool{}, told: map[string]bool{}, begin: sinceStart()}
	list, err := readList()
	switch {
	case errors.Is(err, os.ErrNotExist):
		line("the boot image has no list of modules (" + modules.File + "): only what is built into the kernel can be used")
	case err != nil:
		line("modules: " + err.Error())
	default:
		l.list, l.buses = list, newIndex(list.Aliases)
	}
	if list != nil {
		var u unix.Utsname
		if err := unix.Uname(&u); err == nil {
			if running := unix.ByteSliceToString(u.Release[:]); running != list.Kernel {
				line(fmt.Sprintf("the boot image has the modules of kernel %s, but kernel %s runs: build the boot image for this kernel", list.Kernel, running))
			}
		}
	}
	return l
}

func readList() (*modules.List, error) {
	f, err := os.Open(modules.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := modules.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", modules.File, err)
	}
	return list, nil
}

// base loads what every machine needs.
func (l *loader) base() { l.load(l.list.Base...) }

// load loads modules by their names, each once.
func (l *loader) load(names ...string) {
	for _, s := range l.list.Order(names...) {
		if l.done[s.Name] {
			continue
		}
		l.done[s.Name] = true
		if err := insert(s); err != nil && !s.Soft && !errors.Is(err, unix.ENODEV) {
			l.line(fmt.Sprintf("module %s: %v", s.Name, err))
		}
	}
}

// parameters are what modules are loaded with. The kernel's nbd makes 16 devices of which we need the first: each of the others costs an
// emulated machine 10 ms here, and the system's udev some more. Whoever wants another one later gets it by netlink, as nbd-client asks.
var parameters = map[string]string{"nbd": "nbds_max=1"}

// insert loads a module. One that is loaded already is no error.
func insert(s modules.Step) error {
	path := s.Path
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), parameters[s.Name], 0)
	switch {
	case errors.Is(err, unix.EEXIST):
		return nil
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s is not for this kernel (%w)", path, err)
	case errors.Is(err, unix.ENOKEY), errors.Is(err, unix.EKEYREJECTED), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s has no signature that this kernel takes; Secure Boot wants the distribution's own modules (%w)", path, err)
	}
	return err
}

// devices loads what the machine's devices ask for, until there are no new ones, or the network card with this address is there when the
// first buses have been looked at; nil is no card. A machine has hundreds of devices, and most have nothing to say: each is read once,
// while it is there.
func (l *loader) devices(card net.HardwareAddr) {
	for range mostRounds {
		there, fresh := map[string]bool{}, false
		for _, bus := range firstBuses {
			fresh = l.bus(bus, there) || fresh
		}
		if l.hasCard(card) {
			return
		}
		for _, bus := range names(l.sys + "/bus") {
			if !slices.Contains(firstBuses, bus) {
				fresh = l.bus(bus, there) || fresh
			}
		}
		l.there = there
		if !fresh {
			return
		}
	}
}

// firstBuses are where nearly all network cards are, and a virtual machine's random numbers. Behind the others are a hundred devices more,
// 30 ms of the boot of an emulated machine, whose drivers the system loads anyway.
var firstBuses = []string{"pci", "virtio"}

// bus loads what the devices of a bus ask for that were not there at the last look, and notes which are there now. It tells whether
// any was new.
func (l *loader) bus(name string, there map[string]bool) (fresh bool) {
	folder := l.sys + "/bus/" + name + "/devices"
	for _, device := range names(folder) {
		path := folder + "/" + device
		there[path] = true
		if l.there[path] {
			continue
		}
		alias := attribute(path, "modalias")
		if alias == "" || l.seen[alias] {
			continue
		}
		l.seen[alias], fresh = true, true
		l.load(l.buses.match(alias)...)
	}
	return fresh
}

// hasCard tells whether the network card with this address is there, with its driver.
func (l *loader) hasCard(mac net.HardwareAddr) bool {
	folder := l.sys + "/class/net"
	return mac != nil && slices.ContainsFunc(names(folder), func(card string) bool { return attribute(folder+"/"+card, "address") == mac.String() })
}

// names are the names of what is in a folder; none when it cannot be read. It and attribute go to the kernel without package os, which
// asks twice as many questions: there are hundreds of devices, and an emulated machine takes 0.1 s for their files.
func names(dir string) (list []string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	b := make([]byte, 8<<10)
	for {
		n, err := unix.ReadDirent(fd, b)
		if err != nil || n <= 0 {
			return list // what was read until an error
		}
		_, _, list = unix.ParseDirent(b[:n], -1, list)
	}
}

// orphans tells of network cards on PCI that have had no driver for a while.
func (l *loader) orphans() {
	if sinceStart()-l.begin < driverPatience {
		return
	}
	found, _ := filepath.Glob(l.sys + "/bus/pci/devices/*") // the pattern is right
	for _, dir := range found {
		if l.told[dir] || !strings.HasPrefix(attribute(dir, "class"), "0x02") {
			continue
		}
		if _, err := os.Readlink(filepath.Join(dir, "driver")); err == nil {
			continue
		}
		l.told[dir] = true
		if text := orphan(attribute(dir, "vendor"), attribute(dir, "device"), filepath.Base(dir), l.buses.match(attribute(dir, "modalias")), l.list); text != "" {
			l.line(text)
		}
	}
}

// orphan is the line about a card without a driver. It is empty for one whose driver can be in the part of the boot image that was
// left out: the machine boots with another card.
func orphan(vendor, device, slot string, drivers []string, list *modules.List) string {
	id := strings.TrimPrefix(vendor, "0x") + ":" + strings.TrimPrefix(device, "0x")
	if len(drivers) > 0 {
		return fmt.Sprintf("network card %s in slot %s is not taken by its driver %s; it may need firmware (spate bootimage build --firmware)", id, slot, strings.Join(drivers, ", "))
	}
	if list.First {
		return ""
	}
	return fmt.Sprintf("network card %s in slot %s has no driver in the boot image: build one with all network drivers (spate bootimage build --all-network), or from a kernel that has its driver (this one is %s)", id, slot, list.Kernel)
}

// attribute is a line that the kernel says about a device; empty when it says none.
func attribute(dir, name string) string {
	fd, err := unix.Open(dir+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [4096]byte // a page, the most that an attribute is
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b[:n]))
}

// Modprobe is what the kernel runs as /sbin/modprobe -q -- NAME when it wants a module by itself. It returns the exit status.
func Modprobe(args []string) int {
	list, err := readList()
	if err != nil {
		return 1
	}
	status := 1
	for _, name := range args {
		if strings.HasPrefix(name, "-") {
			continue
		}
		for _, s := range list.Order(list.Resolve(name)...) {
			if insert(s) == nil {
				status = 0
			}
		}
	}
	return status
}
