package ipxe

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/spate-project/spate/bootsvc"
)

// plan is what a machine is to do, before it is written for iPXE or GRUB. All its texts are plain.
type plan struct {
	title string
	// refusal has lines: the machine shows them, waits, and asks again.
	refusal []string
	// leave says that the machine is somebody else's: it shows the refusal and goes back to its firmware.
	leave bool
	// local boots the disk at once.
	local   bool
	choices []choice
	// menu shows the choices, and the local disk if there is one.
	menu     bool
	disk     bool
	fallback int // the default; len(choices) for the disk
	timeout  int // seconds; 0: for ever
	servers  []bootsvc.Server
}

type choice struct {
	title   string
	label   string // VDISK@VERSION
	folder  string // in which its boot files are
	line    string // the kernel command line without what the script adds
	missing string // why it cannot be booted, or ""
}

func newPlan(c bootsvc.Client, e bootsvc.Entry, f bootsvc.Farm) plan {
	device := plain(e.Device)
	if device == "" {
		device = "unknown device"
	}
	p := plan{
		title: fmt.Sprintf("%s (%s), farm %s", device, c.MAC, plain(f.Name)),
		disk:  e.LocalDisk, fallback: e.Default, timeout: int(e.Timeout.Seconds()),
		servers: f.Servers[:min(len(f.Servers), maxServers)],
	}
	if p.timeout == 0 && e.Timeout > 0 {
		p.timeout = 1
	}
	for _, o := range e.Choices {
		p.choices = append(p.choices, newChoice(o))
	}
	refuse := func(sentence, remedy string) plan {
		p.refusal = []string{"This machine does not boot from Spate.", "Device: " + p.title, "Reason: " + plain(sentence), remedy}
		return p
	}
	patience := fmt.Sprintf("It asks again every %.0f seconds, and goes on by itself when this has been put right.", askAgain.Seconds())
	switch {
	case e.Silent:
		p.leave = true
		return refuse(e.Why, "The firmware goes on with its next boot device.")
	case e.Refusal != "":
		return refuse(e.Refusal, patience)
	case e.Local:
		p.local = true
		return p
	case len(p.choices) == 0 && e.LocalDisk:
		p.local = true
		return p
	case len(p.choices) == 0:
		return refuse("no vDisk is assigned to it; an administrator can do that in the farm file.", patience)
	case len(p.servers) == 0:
		return refuse("no server of the farm runs boot services; an administrator can say so in the farm file.", patience)
	case len(p.choices) == 1 && !e.LocalDisk && p.choices[0].missing != "":
		return refuse(p.choices[0].missing, patience)
	}
	p.menu = len(p.choices) > 1 || p.disk
	if last := len(p.choices); p.fallback < 0 || p.fallback > last || p.fallback == last && !p.disk {
		p.fallback = 0
	}
	return p
}

// index finds a choice that can be booted by its label; -1 when there is none.
func (p plan) index(label string) int {
	return slices.IndexFunc(p.choices, func(c choice) bool { return c.label == label && c.missing == "" })
}

func (p plan) has(label string) bool { return p.index(label) >= 0 }

func newChoice(o bootsvc.Choice) choice {
	label := o.VDisk + "@" + strconv.FormatUint(uint64(o.Version), 10)
	ch := choice{title: plain(o.Title), label: label, line: o.CommandLine, missing: plain(o.Missing)}
	ch.folder = bootsvc.FolderBoot + label + "/"
	if o.Content != "" {
		ch.folder += o.Content + "/"
	}
	if ch.title == "" {
		ch.title = plain(label)
	}
	if bad := CheckCommandLine(o.CommandLine); ch.missing == "" && bad != "" {
		ch.missing = plain(fmt.Sprintf("%s cannot be booted: %s.", label, bad))
	}
	if !name(o.VDisk) || o.Content != "" && !name(o.Content) {
		ch.missing = "The name of this vDisk cannot stand in a boot script."
	}
	return ch
}

// name tells whether a vDisk's name can be part of a URL and of a GRUB path as it stands.
func name(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return s != ""
}

func url(s bootsvc.Server) string {
	return "http://" + netip.AddrPortFrom(s.Addr.Unmap(), s.HTTP).String() + "/"
}
