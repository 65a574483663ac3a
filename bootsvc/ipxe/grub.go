package ipxe

import (
	"fmt"
	"strings"

	"github.com/spate-project/spate/bootsvc"
)

// grub is a GRUB configuration that is being written. Debian's signed network image is GRUB 2.06 without an http module,
// and modules cannot be added under Secure Boot: everything comes by TFTP.
type grub struct {
	strings.Builder
	plan plan
	mac  bootsvc.MAC
}

func (g *grub) line(format string, args ...any) { fmt.Fprintf(g, format+"\n", args...) }

// quote makes one word of s that GRUB leaves alone.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// GRUB is the configuration of one machine. When it comes to its end, that of any machine goes on, and asks for this one
// again.
func GRUB(c bootsvc.Client, e bootsvc.Entry, f bootsvc.Farm) []byte {
	g := &grub{plan: newPlan(c, e, f), mac: c.MAC}
	p := &g.plan
	g.line("# Spate: %s", p.title)
	switch {
	case p.refusal != nil:
		for _, l := range p.refusal {
			g.say(l)
		}
		if p.leave {
			g.line("sleep %.0f", showMessage.Seconds())
			g.line("exit")
			break
		}
		g.line("sleep %.0f", askAgain.Seconds())
	case p.local:
		g.say("Spate: booting from the local disk")
		g.line("exit")
	case p.menu:
		g.menu()
	default:
		g.boot(p.choices[0])
	}
	return []byte(g.String())
}

func (g *grub) say(text string) { g.line("echo %s", quote(text)) }

func (g *grub) menu() {
	p := &g.plan
	timeout := -1
	if p.timeout > 0 {
		timeout = p.timeout
	}
	g.line("set default=%d", p.fallback)
	g.line("set timeout=%d", timeout)
	for i, c := range p.choices {
		hotkey := ""
		if i < 9 {
			hotkey = fmt.Sprintf(" --hotkey=%d", i+1)
		}
		g.line("menuentry %s%s {", quote(c.title), hotkey)
		if c.missing != "" {
			g.say("Spate: " + c.missing)
			g.line("sleep %.0f", showMessage.Seconds())
		} else {
			g.line("while true; do")
			g.boot(c)
			g.line("done")
		}
		g.line("}")
	}
	if p.disk {
		g.line("menuentry 'Local disk' --hotkey=l {")
		g.line("exit")
		g.line("}")
	}
}

// boot loads a choice from the first server that has it, and waits when none has.
func (g *grub) boot(c choice) {
	words, _ := kernelWords(c.line) // checked by newChoice
	var args strings.Builder
	for _, w := range append(words, added(c.line, g.mac)...) {
		args.WriteString(" " + quote(w))
	}
	for _, server := range g.plan.servers {
		base := fmt.Sprintf("(tftp,%s)/%s", server.Addr.Unmap(), c.folder)
		g.say(fmt.Sprintf("Spate: %s from server %s (%s)", c.label, plain(server.Name), server.Addr))
		g.line("if linux %s%s%s; then", base, bootsvc.Kernel, args.String())
		g.line("if initrd %s%s; then", base, bootsvc.Image)
		g.line("boot")
		g.line("fi")
		g.line("fi")
	}
	g.say(fmt.Sprintf("Spate: no server gave kernel and boot image of %s; trying again (see the log of the servers)", c.label))
	g.line("sleep %.0f", roundPause.Seconds())
}

// AnyGRUB is grub.cfg: it asks for the configuration of the machine that runs it, first the server that GRUB came from.
func AnyGRUB(f bootsvc.Farm) []byte {
	g := &grub{}
	file := bootsvc.FolderGRUB + "$net_default_mac.cfg"
	g.line("# Spate: farm %s", plain(f.Name))
	g.line("while true; do")
	g.line("configfile (tftp,$net_default_server)/%s", file)
	for _, server := range f.Servers[:min(len(f.Servers), maxServers)] {
		g.line("configfile (tftp,%s)/%s", server.Addr.Unmap(), file)
	}
	g.say(fmt.Sprintf("Spate: no server of farm %s answers; trying again", plain(f.Name)))
	g.line("sleep %.0f", roundPause.Seconds())
	g.line("done")
	return []byte(g.String())
}
