package ipxe

import (
	"fmt"
	"strings"

	"github.com/spate-project/spate/bootsvc"
)

const (
	kernelName = "kernel"
	imageName  = "initrd"
	// about is what iPXE tells of the machine when it asks for its script.
	about = "?arch=${buildarch}&platform=${platform}&uuid=${uuid}"
	// again names the choice that somebody made before nobody answered.
	again = "&choice="
	// waited is set once the machine has waited for a server or a person: its lease may have run out since, and is not given on.
	waited = "set spate-waited 1 ||"
)

// leased are the options of DHCP that a kernel gets with iPXE's lease (RFC 2132, 3397, 3442): network mask, routers, name servers, host
// and domain name, MTU, times, domains to search, routes. The server comes last, so that the reader sees whether anything was cut off.
var leased = []int{1, 3, 6, 12, 15, 26, 51, 58, 59, 119, 121, 54}

// script is an iPXE script that is being written. Every line ends in a way that iPXE takes for success, or in ||, since a script
// ends at the first line that fails.
type script struct {
	strings.Builder
	plan plan
	mac  bootsvc.MAC
}

func (s *script) line(format string, args ...any) { fmt.Fprintf(s, format+"\n", args...) }

// Script is the iPXE script of one machine. It never gives the machine back to its firmware, unless it is to boot from its own
// disk or is somebody else's. The choice that was made before, VDISK@VERSION or empty, is booted without showing the menu
// again, as long as the machine may have it.
func Script(c bootsvc.Client, e bootsvc.Entry, f bootsvc.Farm, chosen string) []byte {
	s := &script{plan: newPlan(c, e, f), mac: c.MAC}
	p := &s.plan
	s.line("#!ipxe")
	s.line("# Spate: %s", p.title)
	s.line(":start")
	switch {
	case p.refusal != nil:
		s.refusal()
	case p.local:
		s.disk()
		s.line("exit 1")
	case p.menu && !p.has(chosen):
		s.menu()
	default:
		s.boot(max(0, p.index(chosen)))
	}
	return []byte(s.String())
}

func (s *script) refusal() {
	s.line("echo")
	for _, l := range s.plan.refusal {
		s.line("echo %s", l)
	}
	s.line("echo")
	if s.plan.leave {
		s.line("sleep %.0f ||", showMessage.Seconds())
		s.line("exit 1")
		return
	}
	s.line("sleep %.0f ||", askAgain.Seconds())
	s.ask(about)
	s.line("goto start")
}

// ask asks the servers for the script again; the first one that answers replaces this script.
func (s *script) ask(query string) {
	s.line(waited)
	for _, server := range s.plan.servers {
		s.line("chain --replace --autofree --timeout %d %s%s%s%s ||", fetchTimeout.Milliseconds(), url(server), bootsvc.FolderScript, s.mac.Hyphens(), query)
	}
}

func (s *script) menu() {
	p := &s.plan
	s.line(waited)
	s.line("menu Spate: %s", p.title)
	for i, c := range p.choices {
		s.line("item%s %s %s", key(i), target(i), c.title)
	}
	if p.disk {
		s.line("item --key l %s Local disk", target(len(p.choices)))
	}
	wait := ""
	if p.timeout > 0 {
		wait = fmt.Sprintf(" --timeout %d", p.timeout*1000)
	}
	s.line("choose --default %s%s spate-choice || goto start", target(p.fallback), wait)
	s.line("goto ${spate-choice}")
	for i, c := range p.choices {
		if c.missing != "" {
			s.line(":%s", target(i))
			s.line("echo Spate: %s", c.missing)
			s.line("sleep %.0f ||", showMessage.Seconds())
			s.line("goto start")
			continue
		}
		s.boot(i)
	}
	if p.disk {
		s.line(":%s", target(len(p.choices)))
		s.disk()
		s.line("sleep %.0f ||", showMessage.Seconds())
		s.line("goto start")
	}
}

// target is the label of a choice.
func target(i int) string { return fmt.Sprintf("choice%d", i) }

// key is the key that takes a choice.
func key(i int) string {
	if i >= 9 {
		return ""
	}
	return fmt.Sprintf(" --key %d", i+1)
}

// disk boots the local disk: under EFI the firmware's next boot entry does. It goes on when there is none.
func (s *script) disk() {
	s.line("echo Spate: booting from the local disk")
	s.line("iseq ${platform} efi && exit 0 ||")
	s.line("sanboot --no-describe --drive 0x80 ||")
	s.line("echo Spate: the local disk does not boot")
}

// boot loads kernel and boot image of a choice from the first server that has both. After some rounds it asks for the script
// anew, in case the farm has other plans by now; when nobody answers that either, it goes on.
func (s *script) boot(i int) {
	c, t := s.plan.choices[i], target(i)
	s.line(":%s", t)
	card := !needsAll(c.line)
	if card {
		s.card()
	}
	s.line("set spate-round:int32 1")
	s.line(":%s-round", t)
	s.lease()
	for n, server := range s.plan.servers {
		s.line("echo Spate: %s from server %s (%s)", c.label, plain(server.Name), server.Addr)
		s.line("imgfree ||")
		base, query := url(server)+c.folder, "?mac="+s.mac.Hyphens()
		image := query
		if card {
			image += "&card=${spate-card}"
		}
		s.line("kernel --name %s --timeout %d %s%s%s %s ${spate-lease} || goto %s-next%d", kernelName, fetchTimeout.Milliseconds(), base,
			bootsvc.Kernel, query, strings.TrimLeft(c.line+suffix(c.line, s.mac), " "), t, n)
		s.line("initrd --name %s --timeout %d %s%s%s || goto %s-next%d", imageName, fetchTimeout.Milliseconds(), base, bootsvc.Image, image, t, n)
		s.line("boot %s ||", kernelName)
		s.line(":%s-next%d", t, n)
	}
	s.line("imgfree ||")
	s.line("echo Spate: no server gave kernel and boot image of %s; trying again (see the log of the servers)", c.label)
	s.line("sleep %.0f ||", roundPause.Seconds())
	s.line("iseq ${spate-round} %d && goto %s-ask ||", rounds, t)
	s.line("inc spate-round")
	s.line(waited)
	s.line("goto %s-round", t)
	s.line(":%s-ask", t)
	s.ask(about + again + c.label)
	s.line("goto %s", t)
}

// card notes the type of the bus, vendor and device of the card that iPXE opened last, if that is the one that the machine boots
// with: a server leaves the drivers of other cards out of the boot image when it knows this one.
func (s *script) card() {
	s.line("clear spate-card ||")
	s.line("iseq ${netX/mac:hexhyp} %s && set spate-card ${netX/busid:hexhyp} ||", s.mac.Hyphens())
}

// lease notes the lease of the card that the machine boots with, for the kernel's command line: so that the machine need not ask for an
// address before its disk (package nic of the programs). One that iPXE was given otherwise has no lease time, and is not taken there.
func (s *script) lease() {
	var options strings.Builder
	for _, code := range leased {
		fmt.Fprintf(&options, ",%d:${netX/%d:hexraw}", code, code)
	}
	s.line("clear spate-lease ||")
	s.line("iseq ${netX/mac:hexhyp} %s && set spate-lease spate.lease=${netX/ip}%s ||", s.mac.Hyphens(), options.String())
	s.line("isset ${spate-waited} && clear spate-lease ||")
}

// AnyScript is boot.ipxe: it asks the servers of the farm for the script of the machine that runs it.
func AnyScript(f bootsvc.Farm) []byte {
	s := &script{}
	s.line("#!ipxe")
	s.line("# Spate: farm %s", plain(f.Name))
	s.line(":start")
	s.line("isset ${netX/ip} || dhcp ||")
	for _, server := range f.Servers[:min(len(f.Servers), maxServers)] {
		s.line("chain --replace --autofree --timeout %d %s%s${netX/mac:hexhyp}%s ||", fetchTimeout.Milliseconds(), url(server), bootsvc.FolderScript, about)
	}
	s.line("echo Spate: no server of farm %s answers; trying again", plain(f.Name))
	s.line(waited)
	s.line("sleep %.0f ||", roundPause.Seconds())
	s.line("goto start")
	return []byte(s.String())
}
