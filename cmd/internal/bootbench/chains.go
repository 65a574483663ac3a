package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spate-project/spate/cmd/internal/vmlab"
)

// chain is a way from power-on to a working system.
type chain struct {
	name string
	// begins is what the first program of the initramfs says first.
	begins string
	start  func(b *bench, ctx context.Context, n *vmlab.Network) (servers, error)
	// disk is a disk of the machine itself, or none.
	disk func(b *bench) string
}

// servers are what a machine boots from.
type servers interface {
	Said() string
	Close() error
}

const (
	spateName = "spate"
	peerName  = "nbd"
	localName = "local"
)

var chains = []chain{
	{name: peerName, begins: "MARK initramfs", start: func(b *bench, _ context.Context, n *vmlab.Network) (servers, error) {
		return n.Peer(b.system, vmlab.CommandLine)
	}},
	{name: spateName, begins: "  init: ", start: (*bench).spate},
	// As the peer, with the root on a disk of the machine itself: what no disk in the network can be faster than.
	{name: localName, begins: "MARK initramfs", start: func(b *bench, _ context.Context, n *vmlab.Network) (servers, error) {
		return n.Peer(b.system, vmlab.CommandLine+" disk=/dev/vda")
	}, disk: func(b *bench) string { return b.system.Root }},
}

// spate starts a farm of two servers. Their vDisk is made once.
func (b *bench) spate(ctx context.Context, n *vmlab.Network) (servers, error) {
	if b.disk == "" {
		var err error
		if b.disk, err = vmlab.MakeDisk(ctx, b.build, filepath.Join(b.dir, "disk"), b.system, vmlab.CommandLine); err != nil {
			return nil, fmt.Errorf("make the vDisk: %w", err)
		}
	}
	f, err := n.Farm(vmlab.FarmOptions{Bin: b.build, Disk: b.disk})
	if err != nil {
		return f, err
	}
	return f, f.Start(ctx)
}
