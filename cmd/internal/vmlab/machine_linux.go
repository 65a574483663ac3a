package vmlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spate-project/spate/cmd/internal/vmtest"
)

// Firmware is what a machine wakes up with.
type Firmware int

// The kinds of firmware.
const (
	BIOS       Firmware = iota
	UEFI                // boots by PXE: DHCP, TFTP
	UEFIHTTP            // boots by HTTP only
	SecureBoot          // UEFI that runs signed programs only
)

// ovmf is where Debian puts UEFI firmware for QEMU.
const ovmf = "/usr/share/OVMF/"

// Hardware is what a machine is made of.
type Hardware struct {
	Name     string // for people and files; empty: the number of the machine
	Memory   int    // MiB; 0: 768
	CPU      string // model; empty: the standard one, which has no AES instructions
	Firmware Firmware
	Card     string // QEMU's name; empty: virtio-net-pci
	// Translations bounds the memory for translated code of the guest in MiB; 0: QEMU's own bound, a gigabyte. When a page that
	// held programs is used for something else, QEMU drops what it has translated of it one by one, and looks each time through
	// all of it: there may be so much that a guest that reuses many pages stands still for minutes.
	Translations int
	// ROM leaves iPXE in the card, where QEMU puts it; UEFI firmware uses its own driver then only if there is none.
	ROM bool
	// Second adds another card, which the machine's system finds first and its firmware cannot use.
	Second bool
	// NoRandom takes the random number generator out of a machine with a BIOS. Virtual machines have one, or one in their CPU,
	// which the standard model of QEMU's emulation lacks.
	NoRandom bool
	// Disk is the image of a disk of the machine itself, from which it does not boot; what is written to it is gone afterwards.
	Disk string
	// Reboot lets the machine start again when it resets itself; otherwise that is its end.
	Reboot bool
	// Screen gets all that the machine writes to its console, as it comes; nil: nobody does. It must not wait for long.
	Screen io.Writer
}

// Machine is a machine that runs. Its methods may be called from any goroutine, those that return what the machine says to a
// command from one at a time.
type Machine struct {
	*vmtest.Console
	Name string
	MAC  string
	Tap  *Tap

	cmd     *exec.Cmd
	input   io.WriteCloser
	monitor *monitor
	agent   *agent
	leave   func()
}

// Boot switches a machine on. It waits for its turn while too many machines run on this computer. Somebody must call Kill, or
// Close of the network.
func (n *Network) Boot(ctx context.Context, h Hardware) (*Machine, error) {
	tap, err := n.tap()
	if err != nil {
		return nil, err
	}
	return n.BootOn(ctx, tap, h)
}

// BootOn is Boot with a cable that is there already.
func (n *Network) BootOn(ctx context.Context, tap *Tap, h Hardware) (*Machine, error) {
	number := len(n.machines) + 1
	if h.Name == "" {
		h.Name = "machine" + strconv.Itoa(number)
	}
	m := &Machine{Name: h.Name, MAC: MAC(number), Tap: tap}
	args, err := h.arguments(n.dir, tap.Name, m.MAC)
	if err != nil {
		return nil, err
	}
	if h.Second {
		more, err := n.tap()
		if err != nil {
			return nil, err
		}
		// Cards are found in the order in which QEMU is told of them. Without a ROM firmware has no driver for it.
		args = append([]string{"-netdev", "tap,id=n1,ifname=" + more.Name + ",script=no,downscript=no",
			"-device", "virtio-net-pci,netdev=n1,romfile=,mac=" + MAC(secondCards+number)}, args...)
	}
	if m.leave, err = vmtest.Place(ctx); err != nil {
		return nil, err
	}
	if err := m.start(args, h.Screen); err != nil {
		m.leave()
		return nil, fmt.Errorf("switch %s on: %w", h.Name, err)
	}
	n.machines = append(n.machines, m)
	return m, nil
}

// MAC is the address of the machine of a network that is switched on as the first, second, …
func MAC(number int) string { return fmt.Sprintf("52:54:00:77:00:%02x", number) }

// secondCards is where the numbers of second cards begin.
const secondCards = 128

// Cable makes a network cable for BootOn.
func (n *Network) Cable() (*Tap, error) { return n.tap() }

// The file descriptors of QEMU that lead to us.
const (
	monitorFD = 3
	agentFD   = 4
)

// arguments are those of QEMU. Files of the machine go into dir.
func (h Hardware) arguments(dir, tap, mac string) ([]string, error) {
	memory := h.Memory
	if memory == 0 {
		memory = 768
	}
	card := h.Card
	if card == "" {
		card = "virtio-net-pci"
	}
	device := fmt.Sprintf("%s,netdev=n0,mac=%s", card, mac)
	if strings.HasPrefix(card, "virtio") { // packets as they go over a wire
		for _, f := range []string{"host_tso4", "host_tso6", "host_ecn", "host_ufo", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo"} {
			device += "," + f + "=off"
		}
	}
	if !h.ROM && h.Firmware != BIOS {
		device += ",romfile="
	}
	accel := "tcg"
	if h.Translations > 0 {
		accel += ",tb-size=" + strconv.Itoa(h.Translations)
	}
	args := []string{"-name", h.Name, "-accel", accel, "-m", strconv.Itoa(memory), "-nodefaults", "-display", "none", "-boot", "n",
		"-chardev", "socket,id=monitor,fd=" + strconv.Itoa(monitorFD), "-mon", "chardev=monitor,mode=control",
		"-serial", "stdio", "-chardev", "socket,id=agent,fd=" + strconv.Itoa(agentFD), "-serial", "chardev:agent",
		"-netdev", "tap,id=n0,ifname=" + tap + ",script=no,downscript=no", "-device", device}
	if h.Disk != "" {
		args = append(args, "-drive", "if=virtio,format=raw,snapshot=on,file="+h.Disk)
	}
	if h.CPU != "" {
		args = append(args, "-cpu", h.CPU)
	}
	if !h.Reboot {
		args = append(args, "-no-reboot")
	}
	more, err := h.firmware(dir)
	return append(args, more...), err
}

// firmware are the arguments by which QEMU knows the firmware. A UEFI machine has a copy of the variables of its own.
func (h Hardware) firmware(dir string) ([]string, error) {
	if h.Firmware == BIOS {
		args := []string{"-machine", "pc,graphics=off"}
		if !h.NoRandom {
			args = append(args, "-device", "virtio-rng-pci")
		}
		return args, nil
	}
	code, vars, machine := "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "q35"
	var more []string
	switch h.Firmware {
	case SecureBoot:
		code, vars, machine = "OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd", "q35,smm=on"
		more = append(more, "-global", "driver=cfi.pflash01,property=secure,value=on")
	case UEFIHTTP:
		more = append(more, "-fw_cfg", "name=opt/org.tianocore/IPv4PXESupport,string=n")
	}
	content, err := os.ReadFile(ovmf + vars)
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, h.Name+".vars.fd")
	return append(more, "-machine", machine, "-device", "virtio-rng-pci", "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n",
		"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmf+code, "-drive", "if=pflash,format=raw,unit=1,file="+own), os.WriteFile(own, content, 0o600)
}

// start starts QEMU. The console is also written to screen, unless that is nil.
func (m *Machine) start(args []string, screen io.Writer) (err error) {
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	// Should we be killed, so is the machine.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var ours [2]*os.File
	for i, name := range []string{"monitor", "agent"} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		theirs := os.NewFile(uintptr(pair[1]), name)
		defer theirs.Close()
		ours[i] = os.NewFile(uintptr(pair[0]), name)
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, theirs)
	}
	m.monitor, m.agent = newMonitor(ours[0]), newAgent(ours[1])
	if m.input, err = m.cmd.StdinPipe(); err != nil {
		return err
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	m.cmd.Stderr = m.cmd.Stdout
	m.Console = vmtest.NewConsole()
	if err := m.cmd.Start(); err != nil {
		return err
	}
	var said io.Reader = out
	if screen != nil {
		said = io.TeeReader(out, screen)
	}
	go m.Read(said, m.cmd.Wait) // ends with QEMU, which Kill ends
	return nil
}

// Type types on the keyboard of the serial console.
func (m *Machine) Type(text string) error {
	if _, err := io.WriteString(m.input, text); err != nil {
		return fmt.Errorf("the machine has no ear for its keyboard: %w", err)
	}
	return nil
}

// Press presses the power button: a system that listens shuts down.
func (m *Machine) Press(ctx context.Context) error { return m.monitor.do(ctx, "system_powerdown") }

// Reset presses the reset button. A machine without Reboot ends.
func (m *Machine) Reset(ctx context.Context) error {
	m.agent.reset()
	return m.monitor.do(ctx, "system_reset")
}

// Run has a command line run by the shell in the system, and returns what it wrote. The system listens where it was
// booted with spate.test=agent (vmtest.System). A status other than 0 is an error.
func (m *Machine) Run(ctx context.Context, line string) (out string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with ctx
		if m.AwaitEnd(ctx) == nil {
			cancel(errors.New("the machine ended"))
		}
	}()
	out, err = m.agent.run(ctx, line)
	if err != nil {
		return out, fmt.Errorf("%s: %w\n%s\nthe end of the console:\n%s", line, err, out, m.Tail())
	}
	return out, nil
}

// Kill pulls the plug. The machine's place is free for another one.
func (m *Machine) Kill() {
	_ = m.cmd.Process.Kill() // of one that has ended: nothing happens
	_ = m.AwaitEnd(context.Background())
	m.leave()
	m.monitor.close()
	m.agent.close()
}

// PID is that of QEMU.
func (m *Machine) PID() int { return m.cmd.Process.Pid }
