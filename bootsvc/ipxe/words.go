package ipxe

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spate-project/spate/bootsvc"
)

// plain makes one line of text that means nothing to iPXE or GRUB: printable ASCII, words with one space between them,
// none of which ends a command, begins a comment or names a setting. It is empty at worst.
func plain(s string) string {
	s = s[:min(len(s), 2*maxText)]
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\\':
			return '/' // at the end of a line it would join the next one
		case r == '$':
			return -1
		case r <= ' ' || r == 0x7f:
			return ' '
		case r > 0x7f:
			return '?'
		}
		return r
	}, s)
	words := slices.DeleteFunc(strings.Fields(s), separator)
	for i := range words {
		words[i] = strings.TrimLeft(words[i], "#")
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" || separator(w) })
	s = strings.TrimLeft(strings.Join(words, " "), "- ")
	s = strings.TrimSpace(s[:min(len(s), maxText)])
	if first, rest, _ := strings.Cut(s, " "); separator(first) || strings.HasPrefix(first, "#") {
		return plain(rest) // it came to the front without its dashes
	}
	return s
}

// separator tells whether iPXE ends a command at this word.
func separator(word string) bool { return word == "||" || word == "&&" || word == ";" }

// CheckCommandLine says why a boot script cannot carry a kernel command line exactly as it stands; "" when it can.
func CheckCommandLine(line string) string {
	const where = "the kernel command line has "
	if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		return fmt.Sprintf("%s%.16q, and a boot script can carry printable ASCII only", where, line[i:])
	}
	if n := len(line) + len(suffix(line, bootsvc.MAC{})); n > maxLine {
		return fmt.Sprintf("%s%d characters with what the script adds, and Linux takes %d", where, n, maxLine)
	}
	if strings.Contains(line, "${") {
		return where + "${, which iPXE would replace"
	}
	for word := range strings.FieldsSeq(line) {
		if separator(word) || strings.HasPrefix(word, "#") {
			return fmt.Sprintf("%sthe word %.16q, at which iPXE would end it", where, word)
		}
	}
	words, ok := kernelWords(line)
	if !ok {
		return where + "a quotation mark too many"
	}
	for _, w := range words {
		if strings.Contains(w, "  ") {
			return where + "two spaces inside quotation marks, of which iPXE keeps one"
		}
	}
	return ""
}

// suffix is what a script adds: the name of the boot image, which EFI kernels need, and what every boot loader adds.
func suffix(line string, mac bootsvc.MAC) string {
	return " initrd=" + imageName + " " + strings.Join(added(line, mac), " ")
}

// added is what every boot loader adds to a command line: the card that PXE used, and inMemory.
func added(line string, mac bootsvc.MAC) []string {
	words := []string{"BOOTIF=01-" + mac.Hyphens()}
	given, _ := kernelWords(line) // looked at by CheckCommandLine
	if !slices.ContainsFunc(given, func(w string) bool { return strings.HasPrefix(w, "root=") || strings.HasPrefix(w, "rootfstype=") }) {
		words = append(words, inMemory)
	}
	return words
}

// inMemory makes the kernel unpack the boot image into memory that is never swapped out, as root= and rootfstype= do: into a ramfs, not a
// tmpfs (init_rootfs in init/do_mounts.c). What runs from there serves the disk. To an init it says as much as no type.
const inMemory = "rootfstype=auto"

// needsAll tells whether a machine with this command line needs more modules than those of the first part (packages bootline and nic of
// the programs): a shell on the console needs the driver of a keyboard, an overlay its file system; ip= can name another card, by a
// name that depends on which others have a driver.
func needsAll(line string) bool {
	words, _ := kernelWords(line) // looked at by CheckCommandLine
	return slices.ContainsFunc(words, func(word string) bool {
		address, ok := strings.CutPrefix(word, "ip=")
		fields := strings.Split(address, ":") // client, server, gateway, mask, host name, device
		return word == "spate.shell=1" || word == "spate.root=overlay" || ok && len(fields) > 5 && fields[5] != ""
	})
}

// kernelWords splits a command line as Linux does: double quotes keep spaces, and are no part of a word. Not ok: a quote is open
// at the end.
func kernelWords(line string) (words []string, ok bool) {
	var word strings.Builder
	quoted, begun := false, false
	for i := range len(line) {
		switch c := line[i]; {
		case c == '"':
			quoted, begun = !quoted, true
		case c == ' ' && !quoted:
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteByte(c)
			begun = true
		}
	}
	if begun {
		words = append(words, word.String())
	}
	return words, !quoted
}
