package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// The reference is one TCP connection with Go's crypto/tls, which sends a file from beginning to end: what sealed
// bytes cost in the language that Spate is written in, without any protocol. Both of its ends are this program,
// started again.
const (
	referenceServer = "spate-bench-tls-server"
	referenceClient = "spate-bench-tls-client"
	referenceBlock  = 256 << 10
)

// reexec takes the part of a helper process when this program was started as one.
func reexec() {
	var err error
	switch {
	case len(os.Args) < 3:
		return
	case os.Args[0] == referenceServer:
		err = serveReference(os.Args[1], os.Args[2])
	case os.Args[0] == referenceClient:
		err = readReference(os.Args[1])
	case os.Args[1] == replayer && len(os.Args) == 4:
		err = replayAsChild(os.Args[2], os.Args[3])
	default:
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startReference starts the reference server on an image.
func (b *bench) startReference(ctx context.Context, i *image) (contender, error) {
	port, err := freePort()
	if err != nil {
		return contender{}, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	self, err := os.Executable()
	if err != nil {
		return contender{}, err
	}
	var server *child
	err = niced(func() error {
		server, err = startAs("reference server", referenceServer, self, addr, i.path)
		return err
	})
	if err != nil {
		return contender{}, err
	}
	if err := server.wait(ctx, "listening", func() bool { return listening("", port) }); err != nil {
		server.close()
		return contender{}, err
	}
	return contender{name: "Go TLS", server: server, pass: func(ctx context.Context) error {
		cmd := exec.CommandContext(ctx, self)
		cmd.Args = []string{referenceClient, addr, i.name}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("reference client: %w: %s", err, bytes.TrimSpace(out))
		}
		return nil
	}}, nil
}

func serveReference(addr, path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", addr, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}})
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if err := sendReference(c, path); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

func sendReference(c net.Conn, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{f}, make([]byte, referenceBlock))
	return errors.Join(err, c.Close())
}

// readReference reads everything that the server sends and throws it away.
func readReference(addr string) error {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // a fresh certificate, on loopback
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, referenceBlock))
	return err
}
