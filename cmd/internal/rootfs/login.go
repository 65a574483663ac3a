package rootfs

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Login says how root can log in to a system that is made here.
type Login struct {
	// Password is accepted on the console; empty: none is.
	Password string
	// Keys are lines of authorized_keys, for SSH.
	Keys []string
	// None says that nobody shall be able to log in.
	None bool
}

func (l Login) problems() []string {
	switch {
	case l.None && (l.Password != "" || len(l.Keys) > 0):
		return []string{"nobody shall log in, but a password or a key is given: take away one of them"}
	case !l.None && l.Password == "" && len(l.Keys) == 0:
		return []string{"nobody could log in: give --root-password-file for the console, --ssh-key for the network, or say --no-login"}
	}
	return nil
}

// ReadPassword reads the first line of a file. Others must not be able to read it.
func ReadPassword(path string) (string, error) {
	text, err := readConfig(path)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if fi.Mode().Perm()&0o004 != 0 {
		return "", fmt.Errorf("%s can be read by everybody: chmod 600 %s", path, path)
	}
	line, _, _ := strings.Cut(text, "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || strings.ContainsRune(line, 0) {
		return "", fmt.Errorf("%s has no password in its first line", path)
	}
	return line, nil
}

// ReadKeys reads public SSH keys, one a line.
func ReadKeys(path string) (keys []string, err error) {
	text, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case strings.Contains(line, "PRIVATE KEY"):
			return nil, fmt.Errorf("%s is a private key, which must not leave this machine: give the file that ends in .pub", path)
		case !publicKey(line):
			return nil, fmt.Errorf("%s has a line that is no public SSH key: %.40q", path, line)
		default:
			keys = append(keys, line)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no public SSH key", path)
	}
	return keys, nil
}

// publicKey tells whether one of the words of a line is a key of the kind that the word before it says.
func publicKey(line string) bool {
	words := strings.Fields(line)
	for i := 1; i < len(words); i++ {
		b, err := base64.StdEncoding.DecodeString(words[i])
		if kind := words[i-1]; err == nil && len(b) > 4+len(kind) && int(b[3]) == len(kind) && string(b[4:4+len(kind)]) == kind {
			return true
		}
	}
	return false
}

func readConfig(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(b) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConfig)
	}
	return string(b), err
}

// accounts names those that a shadow file lets log in with a password.
func accounts(shadow string) (names []string) {
	lines := bufio.NewScanner(strings.NewReader(shadow))
	for lines.Scan() {
		f := strings.Split(lines.Text(), ":")
		if len(f) > 1 && !strings.ContainsAny(f[1], "*!") {
			names = append(names, f[0])
		}
	}
	return names
}

// Findings are what an administrator should know about a root folder before machines boot it, each in a sentence.
type Findings struct {
	// Accounts can log in on the console with a password.
	Accounts []string
	// Keys says that root takes SSH keys and that a server is installed.
	Keys bool
	// Notes are things that will be noticed.
	Notes []string
}

// Inspect looks at a root folder. Problems keep it from booting.
func Inspect(dir string) (l Findings, problems []string) {
	text := func(name string) string {
		s, err := readConfig(within(dir, name))
		if err != nil {
			return ""
		}
		return s
	}
	if !executable(dir, "/sbin/init") {
		problems = append(problems, fmt.Sprintf("%s has no /sbin/init: install systemd-sysv or another init in it", dir))
	}
	l.Accounts = accounts(text("etc/shadow"))
	l.Keys = text("root/.ssh/authorized_keys") != "" && executable(dir, "/usr/sbin/sshd")
	for line := range strings.Lines(text("etc/fstab")) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0][0] == '#' || f[1] == "/" || !ofDisk(f[0]) || strings.Contains(f[3], "nofail") || strings.Contains(f[3], "noauto") {
			continue
		}
		l.Notes = append(l.Notes, fmt.Sprintf("/etc/fstab wants %s at %s, which a machine without it waits for 90 s, and then boots no further: take the line out, or add nofail", f[0], f[1]))
	}
	if id := strings.TrimSpace(text("etc/machine-id")); id != "" && id != "uninitialized" {
		l.Notes = append(l.Notes, "/etc/machine-id is not empty: all machines will have this id, and those that take it for DHCP the same address")
	}
	if name := strings.TrimSpace(text("etc/hostname")); name != "" {
		l.Notes = append(l.Notes, fmt.Sprintf("/etc/hostname says %q: all machines will have this name; where it is empty the name comes from DHCP", name))
	}
	return l, problems
}

// ofDisk tells whether the first field of fstab is a local disk.
func ofDisk(source string) bool {
	return strings.HasPrefix(source, "/dev/") && !strings.HasPrefix(source, "/dev/nbd") || strings.Contains(source, "UUID=") || strings.Contains(source, "LABEL=")
}

// maxLinks is how many links lead one to another, as for the kernel.
const maxLinks = 40

// within gives where a file of a root folder lies here: links in the folder lead to places inside it.
func within(dir, name string) string {
	rest := strings.Split(filepath.ToSlash(name), "/")
	var at []string
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			continue
		}
		at = append(at, part)
		target, err := os.Readlink(filepath.Join(dir, filepath.Join(at...)))
		if err != nil {
			continue // no link
		}
		if links++; links > maxLinks {
			break
		}
		at = at[:len(at)-1]
		if strings.HasPrefix(target, "/") {
			at = nil
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(dir, filepath.Join(at...))
}

func executable(dir, name string) bool {
	fi, err := os.Stat(within(dir, name))
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}
