package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/secure"
)

// keys are the farm's, and what servers seal their talk with.
type keys struct {
	farm  *secure.Farm
	peers [][]byte
}

// readKeys reads the farm secret. A server without a farm file makes one.
func readKeys(p *plan) (keys, error) {
	read := keyfile.Read
	if p.open {
		read = func(path string) ([keyfile.Size]byte, error) {
			k, _, err := keyfile.ReadOrCreate(path)
			return k, err
		}
	}
	secret, err := read(p.keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return keys{}, fmt.Errorf("the farm's secret is not in %s; copy that file from another server of the farm, or, for a new farm, make it with: spate keygen > %s: %w",
			p.keyFile, p.keyFile, fs.ErrNotExist)
	}
	if err != nil {
		return keys{}, fmt.Errorf("the farm's secret: %w", err)
	}
	var older [][keyfile.Size]byte
	if p.olderKey != "" {
		k, err := keyfile.Read(p.olderKey)
		if err != nil {
			return keys{}, fmt.Errorf("the farm's older secret: %w", err)
		}
		older = append(older, k)
	}
	k := keys{farm: secure.NewFarm(secret, older...)}
	for _, s := range append([][keyfile.Size]byte{secret}, older...) {
		pk := secure.NewFarm(s).PeerKey()
		k.peers = append(k.peers, pk[:])
	}
	return k, nil
}

// readID reads the lasting identity of this server, or draws it at its first start.
func readID(p *plan) (id stream.ServerID, err error) {
	path := filepath.Join(p.state, p.name+".id")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		k := keyfile.Generate()
		copy(id[:], k[:])
		return id, os.WriteFile(path, []byte(hex.EncodeToString(id[:])+"\n"), 0o644)
	}
	if err != nil {
		return id, err
	}
	got, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(got) != len(id) {
		return id, fmt.Errorf("%s does not hold a server's identity; remove it, and a new one is made", path)
	}
	copy(id[:], got)
	return id, nil
}
