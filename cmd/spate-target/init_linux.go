package main

import (
	"os"
	"path/filepath"

	"github.com/spate-project/spate/cmd/internal/netboot"
)

// early is what this program is when the kernel starts it: /init of a boot image, or its /sbin/modprobe. Otherwise it returns.
// PID 1 alone says nothing: in a container every program is.
func early() {
	switch name := filepath.Base(os.Args[0]); {
	case name == "init" && os.Getpid() == 1:
		netboot.Run(program())
	case name == "modprobe":
		os.Exit(netboot.Modprobe(os.Args[1:]))
	}
}
