package ipxe

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/bootsvc"
)

var update = flag.Bool("update", false, "write the golden files of testdata/boot anew")

var (
	farm = bootsvc.Farm{Name: "school", Servers: []bootsvc.Server{
		{Name: "srv-a", Addr: netip.MustParseAddr("192.0.2.1"), HTTP: 6980},
		{Name: "srv-b", Addr: netip.MustParseAddr("192.0.2.2"), HTTP: 80},
	}}
	client = bootsvc.Client{MAC: bootsvc.MAC{0x52, 0x54, 0, 0x77, 0, 1}, Arch: bootsvc.ArchX64, IPXE: true}
	debian = bootsvc.Choice{VDisk: "debian12", Version: 3, Content: "3f2a000000000001", Title: "Debian 12",
		CommandLine: `spate.server=192.0.2.1:6910,192.0.2.2:6910 spate.farm-key=spate1x spate.vdisk=debian12@3 memmap=64M$1G dyndbg="file nbd.c +p"`}
	withShell = bootsvc.Choice{VDisk: "debian12", Version: 3, Title: "Debian 12", CommandLine: "quiet spate.shell=1"}
	empty     = bootsvc.Choice{VDisk: "data", Version: 0, Title: "Data", Missing: "Version 0 of vDisk data carries no kernel; import it again with --kernel."}
)

// situations are the machines of the golden files.
var situations = []struct {
	name   string
	entry  bootsvc.Entry
	chosen string
}{
	{"direct", bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{debian}}, ""},
	{"shell", bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{withShell}}, ""},
	{"menu", bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{debian, empty}, Default: 2, LocalDisk: true, Timeout: 10 * time.Second}, ""},
	{"chosen", bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{empty, debian}, LocalDisk: true}, "debian12@3"},
	{"local", bootsvc.Entry{Device: "pc-1", Local: true}, ""},
	{"refused", bootsvc.Entry{Refusal: "Device 52:54:00:77:00:01 is not known to farm school; an administrator can add it to the farm file."}, ""},
	{"silent", bootsvc.Entry{Silent: true, Why: "the farm file ignores unknown machines"}, ""},
	{"without-kernel", bootsvc.Entry{Device: "pc-1", Choices: []bootsvc.Choice{empty}}, ""},
	{"unassigned", bootsvc.Entry{Device: "pc-1"}, ""},
}

func golden(t *testing.T, folder, name string, got []byte) {
	t.Helper()
	path := filepath.Join("../../testdata/boot", folder, name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is written now (-update writes it anew):\n%s", path, got)
	}
}

func TestEachMachineGetsTheScriptOfItsSituation(t *testing.T) {
	for _, s := range situations {
		golden(t, "ipxe", s.name+".ipxe", Script(client, s.entry, farm, s.chosen))
		golden(t, "grub", s.name+".cfg", GRUB(client, s.entry, farm))
	}
	golden(t, "ipxe", "boot.ipxe", AnyScript(farm))
	golden(t, "grub", "grub.cfg", AnyGRUB(farm))
}

// What iPXE makes of a line: words at white space, commands at the separators. It is the same since 2010.
func commands(line string) (all [][]string) {
	words := strings.Fields(line)
	for {
		end := slices.IndexFunc(words, func(w string) bool { return separator(w) || w[0] == '#' })
		if end < 0 {
			return append(all, words)
		}
		all = append(all, words[:end])
		if words[end][0] == '#' {
			return all
		}
		words = words[end+1:]
	}
}

// skeleton is everything of a script that is not text: labels, commands, separators, options, settings.
func skeleton(t *testing.T, script []byte) string {
	t.Helper()
	var b strings.Builder
	for i, line := range strings.Split(string(script), "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) || strings.HasSuffix(line, `\`) {
			t.Errorf("line %d can join or end others: %q", i, line)
		}
		if i == 1 { // the comment
			if !strings.HasPrefix(line, "# ") {
				t.Errorf("the second line is %q", line)
			}
			continue
		}
		for _, c := range commands(line) {
			switch {
			case len(c) == 0:
				b.WriteString("nothing")
			case c[0] == "echo", c[0] == "menu":
				b.WriteString(c[0])
				if len(c) > 1 && c[1][0] == '-' {
					t.Errorf("line %d has an option: %q", i, line)
				}
				if strings.Contains(line, "${") {
					t.Errorf("line %d names a setting: %q", i, line)
				}
			case c[0] == "item":
				b.WriteString(strings.Join(c[:4], " ")) // with --key N LABEL
			case c[0] == "kernel":
				b.WriteString(strings.Join(c[:6], " ")) // with --name N --timeout N URL
				if strings.Contains(strings.Replace(line, " ${spate-lease} || goto ", "", 1), "${") {
					t.Errorf("line %d names a setting: %q", i, line)
				}
			default:
				b.WriteString(strings.Join(c, " "))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// kernelLine is the command line that iPXE would give the kernel.
func kernelLine(script []byte) string {
	for line := range strings.SplitSeq(string(script), "\n") {
		if c := commands(line)[0]; len(c) > 6 && c[0] == "kernel" {
			line, _ := strings.CutSuffix(strings.Join(c[6:], " "), " ${spate-lease}")
			return line
		}
	}
	return ""
}

// grubWord is a word as GRUB reads it; text stood between quotes, and is nothing but itself.
type grubWord struct {
	word string
	text bool
}

// grubLines reads a configuration as GRUB does, as far as we write it: words at spaces, a backslash before one character,
// single quotes.
func grubLines(config []byte) (lines [][]grubWord) {
	var line []grubWord
	var word grubWord
	quoted, begun, comment := false, false, false
	end := func() {
		if begun {
			line = append(line, word)
		}
		word, begun = grubWord{}, false
	}
	for i := 0; i < len(config); i++ {
		switch c := config[i]; {
		case comment && c != '\n':
		case c == '\'':
			quoted, begun, word.text = !quoted, true, true
		case quoted:
			word.word += string(c)
		case c == '\\':
			i++
			word.word, begun = word.word+string(config[i]), true
		case c == '#' && !begun:
			comment = true
		case c == ' ' || c == '\n':
			end()
			if c == '\n' {
				lines, line, comment = append(lines, line), nil, false
			}
		default:
			word.word, begun = word.word+string(c), true
		}
	}
	return lines
}

// grubSkeleton is everything of a configuration that is not text.
func grubSkeleton(config []byte) string {
	var b strings.Builder
	for _, line := range grubLines(config) {
		for _, w := range line {
			if w.text {
				w.word = "text"
			}
			b.WriteString(w.word + " ")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// grubWords are the words that GRUB would give the kernel.
func grubWords(config []byte) (words []string) {
	for _, line := range grubLines(config) {
		if len(line) > 2 && line[1].word == "linux" {
			for _, w := range line[3 : len(line)-1] {
				words = append(words, w.word)
			}
			words[len(words)-1] = strings.TrimSuffix(words[len(words)-1], ";")
			return words
		}
	}
	return nil
}

// Whatever a farm file, a vDisk or a machine says, a script has the same commands as with plain words; and the kernel gets
// its command line to the letter, or the machine says why it does not.
func FuzzScript(f *testing.F) {
	f.Add("pc-1", "Debian", "no kernel", "quiet root=/dev/nbd0", "srv")
	f.Add("a\nshell", "x || shell", "-n ; # ${net0/mac} \\", "quiet || shell", "--")
	f.Add("'; exit; '", "## -- && x", "$${mac}{", "a ${ip} 'b", "ä\x00")
	f.Add("- - || #", "&& ", "# #", `dyndbg="a  b"`, ";")
	f.Add("", "", "", `open="`, `\`)
	f.Fuzz(func(t *testing.T, device, title, sentence, line, server string) {
		mine := bootsvc.Farm{Name: device, Servers: []bootsvc.Server{{Name: server, Addr: farm.Servers[0].Addr, HTTP: 80}}}
		build := func(device, title, sentence, line string, f bootsvc.Farm) (menu, refused, direct bootsvc.Entry) {
			ok := bootsvc.Choice{VDisk: "d", Version: 1, Title: title, CommandLine: line}
			bad := bootsvc.Choice{VDisk: "e", Version: 1, Title: title, Missing: "x " + sentence}
			return bootsvc.Entry{Device: device, Choices: []bootsvc.Choice{ok, bad}}, bootsvc.Entry{Device: device, Refusal: "x" + sentence},
				bootsvc.Entry{Device: device, Choices: []bootsvc.Choice{ok}}
		}
		plainFarm := bootsvc.Farm{Name: "f", Servers: []bootsvc.Server{{Name: "s", Addr: farm.Servers[0].Addr, HTTP: 80}}}
		menu, refused, direct := build(device, title, sentence, line, mine)
		plainLine := "quiet"
		reason := CheckCommandLine(line)
		if reason != "" {
			plainLine = line // refused all the same
		}
		menu0, refused0, direct0 := build("d", "t", "s", plainLine, plainFarm)
		for i, pair := range [][2]bootsvc.Entry{{menu, menu0}, {refused, refused0}, {direct, direct0}} {
			got, want := Script(client, pair[0], mine, ""), Script(client, pair[1], plainFarm, "")
			if a, b := skeleton(t, got), skeleton(t, want); a != b {
				t.Errorf("script %d has other commands than with plain words:\n%s\n-- plain --\n%s", i, got, b)
			}
		}
		menu0, refused0, direct0 = build("d", "t", "s", line, plainFarm)
		for i, pair := range [][2]bootsvc.Entry{{menu, menu0}, {refused, refused0}, {direct, direct0}} {
			got, want := GRUB(client, pair[0], mine), GRUB(client, pair[1], plainFarm)
			if grubSkeleton(got) != grubSkeleton(want) {
				t.Errorf("GRUB configuration %d has other commands than with plain words:\n%s", i, got)
			}
		}
		if reason != "" {
			return
		}
		words, _ := kernelWords(line)
		if got, want := grubWords(GRUB(client, direct, mine)), append(words, added(line, client.MAC)...); !slices.Equal(got, want) {
			t.Errorf("GRUB gives the kernel %q, not %q", got, want)
		}
		if want := strings.Join(strings.Fields(line+suffix(line, client.MAC)), " "); kernelLine(Script(client, direct, mine, "")) != want {
			t.Errorf("the kernel gets %q, not %q", kernelLine(Script(client, direct, mine, "")), want)
		}
	})
}

// A boot image is never swapped out, whatever its command line says.
func TestTheKernelUnpacksTheBootImageIntoARamfs(t *testing.T) {
	for line, want := range map[string]string{
		"": "BOOTIF=01-52-54-00-77-00-01 rootfstype=auto", "quiet xroot=1": "quiet xroot=1 BOOTIF=01-52-54-00-77-00-01 rootfstype=auto",
		"rootfstype=ext4 ro": "rootfstype=ext4 ro BOOTIF=01-52-54-00-77-00-01", "quiet root=LABEL=r": "quiet root=LABEL=r BOOTIF=01-52-54-00-77-00-01",
	} {
		e := bootsvc.Entry{Choices: []bootsvc.Choice{{VDisk: "d", CommandLine: line}}}
		if got := strings.Join(grubWords(GRUB(client, e, farm)), " "); got != want {
			t.Errorf("GRUB: %q, not %q", got, want)
		}
		if got := strings.Replace(kernelLine(Script(client, e, farm, "")), "initrd="+imageName+" ", "", 1); got != want {
			t.Errorf("iPXE: %q, not %q", got, want)
		}
	}
}

// The kernel gives names to cards as it finds drivers for them, and ip= may mean another card than the one that the machine boots with.
func TestAMachineWhoseCommandLineNamesACardLoadsTheWholeBootImage(t *testing.T) {
	for line, whole := range map[string]bool{
		"": false, "quiet ip=dhcp": false, "ip=192.0.2.9::192.0.2.1:255.255.255.0:pc-1": false, "ip=192.0.2.9::192.0.2.1:255.255.255.0:pc-1::off:192.0.2.2": false,
		"skip=:::::eth1": false, "quiet ip=:::::eth1:dhcp": true, "ip=192.0.2.9::192.0.2.1:255.255.255.0::eth1:off rw": true, "spate.shell=1": true, "ro spate.root=overlay": true, "spate.root=block": false,
	} {
		e := bootsvc.Entry{Choices: []bootsvc.Choice{{VDisk: "d", CommandLine: line}}}
		if text := string(Script(client, e, farm, "")); strings.Contains(text, "card=") == whole || !strings.Contains(text, "/image?mac=") {
			t.Errorf("%q:\n%s", line, text)
		}
	}
}
