package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// onTerminal tells whether a person sits before us: keys come from a terminal, and lines go to one.
func onTerminal() bool {
	for _, f := range []*os.File{os.Stdin, os.Stdout} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return false
		}
	}
	return true
}

// keysTo sends every key to a machine as soon as it is pressed, until restore is called. Ctrl-C stays ours.
func keysTo(typed func(text string) error) (restore func(), err error) {
	fd := int(os.Stdin.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *before
	raw.Iflag &^= unix.ICRNL | unix.INLCR | unix.IXON
	raw.Lflag &^= unix.ICANON | unix.ECHO | unix.IEXTEN
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	raw.Cc[unix.VSUSP], raw.Cc[unix.VQUIT] = 0, 0 // 0: no key does it
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return nil, err
	}
	go func() { // nobody waits for it: it ends with the program, or with the terminal
		var b [256]byte
		for {
			n, err := os.Stdin.Read(b[:])
			if err != nil || typed(string(b[:n])) != nil {
				return
			}
		}
	}()
	return func() {
		// What programs on the machine may have switched on: colours, and marks around what is pasted.
		_, _ = os.Stdout.WriteString("\x1b[0m\x1b[?2004l")
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, before) // a terminal that is gone needs no restoring
	}, nil
}
