package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/cpu"

	"github.com/spate-project/spate/cmd/internal/keyfile"
	"github.com/spate-project/spate/stream/secure"
	"github.com/spate-project/spate/stream/wire"
)

// DefaultPort is the port of the stream service.
const DefaultPort = 6910

// Login is what a target needs to log in, as flags give it.
type Login struct {
	Servers   []string // HOST or HOST:PORT
	FarmKey   string
	VDisk     string // NAME or NAME@VERSION; empty: what is assigned to the device
	MAC       string
	DeviceKey string // path
	PSKFile   string // path
	// Key and PSK are used in place of the files where they are not zero.
	Key, PSK  [keyfile.Size]byte
	FailAfter time.Duration
	Program   string // name and version of the program
}

// Register adds the flags that attach and read share.
func (l *Login) Register(f *pflag.FlagSet) {
	f.StringSliceVar(&l.Servers, "server", nil, "log-in server, `HOST[:PORT]`; repeat it for each")
	f.StringVar(&l.FarmKey, "farm-key", "", "public `KEY` of the farm, as the servers print it (spate1…)")
	f.StringVar(&l.VDisk, "vdisk", "", "`NAME[@VERSION]` of the vDisk; without it, the one assigned to this device")
	f.StringVar(&l.MAC, "mac", "", "MAC `ADDRESS` to log in with; by default that of the card toward the first server")
	f.StringVar(&l.DeviceKey, "device-key", "", "`FILE` with this device's private key (spate keygen); by default a fresh key each time")
	f.StringVar(&l.PSKFile, "psk-file", "", "`FILE` with the key shared with the farm, where it asks for one")
	f.DurationVar(&l.FailAfter, "fail-after", 0, "fail reads when no server has answered for so long; 0 waits for ever")
}

// login is a Login that has been checked.
type login struct {
	farm    secure.PublicKey
	device  secure.PrivateKey
	psk     [32]byte
	cipher  wire.Cipher
	servers []netip.AddrPort
	wire    wire.Login
}

// check turns flags into keys and addresses, and names everything that is wrong.
func (l *Login) check(ctx context.Context) (login, error) {
	var c login
	var bad []error
	complain := func(err error) {
		if err != nil {
			bad = append(bad, err)
		}
	}
	var err error
	if l.FarmKey == "" {
		complain(errors.New("--farm-key is missing; `spated` prints it, and `spate keygen --public FILE` makes it from the farm's secret"))
	} else if c.farm, err = secure.ParseFarmKey(strings.TrimSpace(l.FarmKey)); err != nil {
		complain(fmt.Errorf("--farm-key: %w", err))
	}
	if len(l.Servers) == 0 {
		complain(errors.New("--server is missing; name at least one log-in server"))
	}
	for _, s := range l.Servers {
		a, err := resolve(ctx, s)
		complain(err)
		c.servers = append(c.servers, a...)
	}
	if l.Key != ([keyfile.Size]byte{}) {
		c.device, err = l.Key, nil
	} else if l.DeviceKey == "" {
		c.device, err = secure.GenerateKey(rand.Reader)
	} else {
		var k [keyfile.Size]byte
		k, err = keyfile.Read(l.DeviceKey)
		c.device = k
	}
	complain(err)
	if c.psk = l.PSK; l.PSKFile != "" {
		c.psk, err = keyfile.Read(l.PSKFile)
		complain(err)
	}
	c.wire = wire.Login{Label: hostname(), Program: l.Program, Number: wire.NewestVersion}
	complain(l.name(&c.wire))
	if c.wire.MAC, err = l.mac(c.servers); err != nil {
		complain(err)
	}
	c.cipher = wire.CipherChaCha20Poly1305
	if cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ || cpu.ARM64.HasAES && cpu.ARM64.HasPMULL {
		c.cipher = wire.CipherAES256GCM
	}
	return c, errors.Join(bad...)
}

// name splits NAME@VERSION.
func (l *Login) name(w *wire.Login) error {
	name, version, fixed := strings.Cut(l.VDisk, "@")
	w.VDisk = name
	if len(name) > wire.MaxName {
		return fmt.Errorf("--vdisk: a name has at most %d bytes", wire.MaxName)
	}
	if !fixed {
		return nil
	}
	n, err := strconv.ParseUint(version, 10, 32)
	if err != nil || name == "" || uint32(n) == wire.NewestVersion {
		return fmt.Errorf("--vdisk %q: write NAME or NAME@VERSION, such as debian12@3", l.VDisk)
	}
	w.Number = uint32(n)
	return nil
}

// resolve turns HOST[:PORT] into addresses.
func resolve(ctx context.Context, s string) ([]netip.AddrPort, error) {
	host, port := s, uint64(DefaultPort)
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), DefaultPort)}, nil
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		host = h
		if port, err = strconv.ParseUint(p, 10, 16); err != nil || port == 0 {
			return nil, fmt.Errorf("--server %q: %q is no port", s, p)
		}
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("--server %q: %w", s, err)
	}
	var list []netip.AddrPort
	for _, a := range addrs {
		list = append(list, netip.AddrPortFrom(a.Unmap(), uint16(port)))
	}
	return list, nil
}

// mac is the MAC address to log in with.
func (l *Login) mac(servers []netip.AddrPort) (mac [6]byte, err error) {
	if l.MAC != "" {
		hw, err := net.ParseMAC(l.MAC)
		if err != nil || len(hw) != len(mac) {
			return mac, fmt.Errorf("--mac %q: write it as 52:54:00:12:34:56", l.MAC)
		}
		return [6]byte(hw), nil
	}
	if hw := cardToward(servers); hw != nil {
		return [6]byte(hw), nil
	}
	// A machine without a card: a random address of the locally administered kind.
	rand.Read(mac[:])
	mac[0] = mac[0]&^1 | 2
	return mac, nil
}

// cardToward finds the hardware address of the card by which the first server is reached, or of any other card.
func cardToward(servers []netip.AddrPort) net.HardwareAddr {
	var local netip.Addr
	if len(servers) > 0 {
		if c, err := net.Dial("udp", servers[0].String()); err == nil { // sends nothing
			local = c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
			c.Close()
		}
	}
	cards, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var any net.HardwareAddr
	for _, card := range cards {
		if len(card.HardwareAddr) != 6 || card.Flags&net.FlagLoopback != 0 {
			continue
		}
		if any == nil {
			any = card.HardwareAddr
		}
		addrs, _ := card.Addrs() // a card that has gone has none
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == local {
				return card.HardwareAddr
			}
		}
	}
	return any
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil {
		return ""
	}
	return h
}
