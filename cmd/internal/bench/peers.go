package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// peer is one of Debian's NBD servers with one image, and how a client reaches it.
type peer struct {
	name   string
	server *child
	uri    string
}

// where is the network that a server and its clients stand in.
type where struct {
	server, client string // network namespaces; empty for that of this program
	addr           string // of the server
}

var loopback = where{addr: "127.0.0.1"}

// plainPeers are the peers without encryption, each as it is fastest.
var plainPeers = []string{"nbdkit", "nbd-server", "qemu-nbd"}

// startPeer starts one of the peers over TCP.
func (b *bench) startPeer(ctx context.Context, name string, w where, i *image) (*peer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p := &peer{name: name, uri: fmt.Sprintf("nbd://%s:%d/", w.addr, port)}
	switch name {
	case "nbdkit":
		p.server, err = startServer(w.server, "nbdkit", "-f", "-r", "-i", w.addr, "-p", fmt.Sprint(port), "file", i.path)
	case "nbdkit TLS":
		var keys string
		if keys, err = b.pskFile(); err != nil {
			return nil, err
		}
		p.uri = fmt.Sprintf("nbds://bench@%s:%d/?tls-psk-file=%s", w.addr, port, keys)
		p.server, err = startServer(w.server, "nbdkit", "-f", "-r", "-i", w.addr, "-p", fmt.Sprint(port), "--tls=require", "--tls-psk="+keys, "file", i.path)
	case "nbd-server":
		config := filepath.Join(b.dir, "nbd-server.conf")
		text := fmt.Sprintf("[generic]\n\tlistenaddr = %s\n\tport = %d\n\tallowlist = true\n[%s]\n\texportname = %s\n\treadonly = true\n", w.addr, port, i.name, i.path)
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
		p.uri += i.name
		pidFile := filepath.Join(b.dir, "nbd-server.pid")
		_ = os.Remove(pidFile) // of an earlier run
		if p.server, err = startServer(w.server, "nbd-server", "-C", config, "-p", pidFile); err == nil {
			err = p.server.daemonize(ctx, pidFile) // in the foreground it serves one connection only
		}
	case "qemu-nbd":
		p.server, err = startServer(w.server, "qemu-nbd", "-r", "-t", "-e", "16", "-f", "raw", "-b", w.addr, "-p", fmt.Sprint(port), i.path)
	default:
		return nil, fmt.Errorf("no peer is called %q", name)
	}
	if err != nil {
		p.server.close()
		return nil, err
	}
	if err := p.server.wait(ctx, "listening", func() bool { return listening(w.server, port) }); err != nil {
		p.server.close()
		return nil, err
	}
	return p, nil
}

// pskFile makes the key of the sealed peer.
func (b *bench) pskFile() (string, error) {
	path := filepath.Join(b.dir, "bench.psk")
	key := hex.EncodeToString([]byte(strings.Repeat("spate-bench-key!", 2)))
	return path, os.WriteFile(path, []byte("bench:"+key+"\n"), 0o600)
}

// copier reads a whole export with nbdcopy and throws it away.
func copier(w where, uri string, flags ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := command(ctx, w.client, "nbdcopy", append(flags, "--", uri, "null:")...)
		return err
	}
}

// settings are the ways of nbdcopy that are tried for each peer; the fastest is used.
var settings = [][]string{nil, {"--connections=1"}, {"--connections=2", "--threads=2"}, {"--request-size=1048576"}}

// tuned makes the contender of a peer at its best settings.
func (b *bench) tuned(ctx context.Context, w where, p *peer) (contender, error) {
	type trial struct {
		pass func(context.Context) error
		took time.Duration
	}
	trials := make([]trial, len(settings))
	for n, flags := range settings {
		c := contender{name: p.name, pass: copier(w, p.uri, flags...)}
		for range 2 { // the second counts
			begin := time.Now()
			if err := c.once(ctx); err != nil {
				return contender{}, err
			}
			trials[n] = trial{c.pass, time.Since(begin)}
			if n > 0 {
				break // the pages are warm already
			}
		}
	}
	fastest := 0
	for n := range trials {
		if trials[n].took < trials[fastest].took {
			fastest = n
		}
	}
	fmt.Printf("  %s is fastest with %q\n", p.name, strings.Join(settings[fastest], " "))
	return contender{name: p.name, server: p.server, pass: trials[fastest].pass}, nil
}
