package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/stream/secure"
)

// startTimeout is how long a server may take until it is ready, stopTimeout
// until it has ended.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 3 * time.Second
)

// farm is two servers on loopback.
type farm struct {
	o       options
	here    string // the folder that all paths start from, as a shell reads it
	key     string
	file    string
	servers []*server
}

type server struct {
	name   string
	addr   string
	admin  string // socket
	args   []string
	log    string
	cmd    *exec.Cmd
	ended  chan struct{}
	failed error // once ended is closed
}

// makeFarm makes stores, key and farm file.
func makeFarm(ctx context.Context, o options) (*farm, error) {
	f := &farm{o: o, file: filepath.Join(o.dir, "farm.yaml")}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	f.here = "'" + strings.ReplaceAll(here, "'", `'\''`) + "'"
	dir, err := filepath.Abs(o.dir) // a farm file names absolute paths
	if err != nil {
		return nil, err
	}
	if err := makeStores(ctx, filepath.Join(o.dir, "store-lab-a"), filepath.Join(o.dir, "store-lab-b")); err != nil {
		return nil, err
	}
	keyPath := filepath.Join(dir, "farm.key")
	secret, _, err := keyfile.ReadOrCreate(keyPath)
	if err != nil {
		return nil, err
	}
	f.key = secure.NewFarm(secret).Public().String()
	var text strings.Builder
	fmt.Fprintf(&text, "farm: demo\nkey_file: %s\nstate: %s\n\nsites:\n  - name: here\n\nservers:\n", keyPath, filepath.Join(dir, "state"))
	for _, name := range []string{"lab-a", "lab-b"} {
		ports, err := freePorts(2)
		if err != nil {
			return nil, err
		}
		s := &server{
			name: name, addr: fmt.Sprintf("127.0.0.1:%d", ports[0]), admin: filepath.Join(o.dir, name+".sock"), log: filepath.Join(o.dir, name+".log"),
		}
		s.args = []string{filepath.Join(o.bin, "spated"), "--config", f.file, "--server", name, "--admin-socket", s.admin}
		f.servers = append(f.servers, s)
		fmt.Fprintf(&text, "  - name: %s\n    site: here\n    stream: %s\n    peer: 127.0.0.1:%d\n", name, s.addr, ports[1])
	}
	text.WriteString("\nstores:\n  - name: main\n    site: here\n    servers:\n")
	for _, s := range f.servers {
		fmt.Fprintf(&text, "      - name: %s\n        path: %s\n", s.name, filepath.Join(dir, "store-"+s.name))
	}
	fmt.Fprintf(&text, "\nvdisks:\n  - name: %s\n    store: main\n\npolicy:\n  unknown: all\n\ncollections:\n  - name: all\n    login: open\n    vdisks: [%s]\n", vdiskName, vdiskName)
	return f, os.WriteFile(f.file, []byte(text.String()), 0o644)
}

// freePorts finds ports of loopback that are free for UDP and TCP. Another
// program may take one before our server does; then that server says so.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 100 {
		u, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return nil, err
		}
		defer u.Close()
		port := u.LocalAddr().(*net.UDPAddr).Port
		t, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		defer t.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports on loopback")
}

func (f *farm) addresses() (list []string) {
	for _, s := range f.servers {
		list = append(list, s.addr)
	}
	return list
}

// start starts both servers and waits until they are ready.
func (f *farm) start() error {
	for _, s := range f.servers {
		if err := s.start(); err != nil {
			return err
		}
	}
	for _, s := range f.servers {
		if err := s.waitReady(); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) start() error {
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(s.args[0], s.args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	// A group of its own: an interrupt at the terminal is for us, who end the
	// servers; and should we be killed, they end too.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.ended = make(chan struct{})
	go func() { // ended by the end of the process, which stop sees to
		s.failed = s.cmd.Wait()
		close(s.ended)
	}()
	return nil
}

// waitReady waits for the line that says so.
func (s *server) waitReady() error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		b, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		if strings.Contains("\n"+string(b), "\nready\n") {
			return nil
		}
		select {
		case <-s.ended:
			b, err := os.ReadFile(s.log)
			return fmt.Errorf("%s ended: %w\n%s", s.name, errors.Join(s.failed, err), b)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s was not ready after %s; its log is %s", s.name, startTimeout, s.log)
}

// state is the process, and whether it lives.
func (s *server) state() (pid int, alive bool) {
	select {
	case <-s.ended:
		return s.cmd.Process.Pid, false
	default:
		return s.cmd.Process.Pid, true
	}
}

// stop ends the servers.
func (f *farm) stop() {
	for _, s := range f.servers {
		if s.cmd == nil || s.cmd.Process == nil {
			continue
		}
		// A frozen server must thaw to end; one that has ended takes no signal.
		_ = s.cmd.Process.Signal(syscall.SIGCONT)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, s := range f.servers {
		if s.ended == nil {
			continue
		}
		select {
		case <-s.ended:
		case <-time.After(stopTimeout):
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
	}
}
