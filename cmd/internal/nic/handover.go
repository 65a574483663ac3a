package nic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// administrators is where an administrator puts files of systemd-networkd; networkdFolders are all places in a root file system, by
// rank.
const administrators = "etc/systemd/network"

var networkdFolders = []string{administrators, "usr/lib/systemd/network", "lib/systemd/network"}

// HandOver writes below run, which becomes /run of the system in root, what its network services must know so that they
// leave the address alone:
//
//	net-CARD.conf                           what klibc's ipconfig writes: initramfs-tools, cloud-init and others read it
//	systemd/network/zz-spate.network        for a card that the system's own files do not name
//	systemd/network/FILE.d/spate.conf       keeps the address where one of the system's files names the card, and networkd is enabled
//	NetworkManager/conf.d/spate.conf        NetworkManager takes the card as it finds it
//	spate/resolv.conf                       name servers
//
// The system's own files keep their say in everything else: theirs are read first, or count more.
func HandOver(run, root string, l Lease) error {
	if !l.Address.Addr().Is4() || l.Name == "" || strings.ContainsAny(l.Name, "/'") {
		return fmt.Errorf("no card and address to hand over: %+v", l)
	}
	var errs []error
	put := func(name string, content []byte) {
		if len(content) == 0 {
			return
		}
		name = filepath.Join(run, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(name), 0o755), write(name, content, 0o644))
	}
	put("net-"+l.Name+".conf", l.ipconfig())
	put("systemd/network/zz-spate.network", l.networkd())
	put("NetworkManager/conf.d/spate.conf", []byte(fmt.Sprintf(`# The root file system of this machine comes over this card (spate-target).
[device-spate]
match-device=mac:%s
keep-configuration=yes
`, l.MAC)))
	put("spate/resolv.conf", l.resolvConf())
	if networkdRuns(root) {
		for _, name := range networkdFiles(root, l.MAC) {
			put("systemd/network/"+name+".d/spate.conf", []byte(keepConfiguration))
		}
	}
	errs = append(errs, nameServers(root, l))
	return errors.Join(errs...)
}

const keepConfiguration = `# The root file system of this machine comes over this card (spate-target):
# an address that is dropped would take the disk away, also at shutdown.
[Network]
KeepConfiguration=yes
`

// write replaces a file.
func write(name string, content []byte, mode fs.FileMode) error {
	temporary := name + ".new"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

// ipconfig is the file of klibc's ipconfig, which shells read.
func (l Lease) ipconfig() []byte {
	var b bytes.Buffer
	add := func(name, value string) { fmt.Fprintf(&b, "%s='%s'\n", name, value) }
	add("DEVICE", l.Name)
	if l.Server.IsValid() {
		add("PROTO", "dhcp")
	} else {
		add("PROTO", "static")
	}
	mask := net.CIDRMask(l.Address.Bits(), 32)
	add("IPV4ADDR", l.Address.Addr().String())
	add("IPV4BROADCAST", broadcast(l.Address).String())
	add("IPV4NETMASK", net.IP(mask).String())
	add("IPV4GATEWAY", text(l.Router))
	for i := range 2 {
		dns := netip.Addr{}
		if i < len(l.DNS) {
			dns = l.DNS[i]
		}
		add(fmt.Sprintf("IPV4DNS%d", i), text(dns))
	}
	add("HOSTNAME", l.Hostname)
	add("DNSDOMAIN", l.Domain)
	add("ROOTSERVER", text(l.Server))
	add("ROOTPATH", "")
	add("DHCPLEASETIME", fmt.Sprint(int64(l.Valid/time.Second)))
	add("DOMAINSEARCH", strings.Join(l.Search, " "))
	return b.Bytes()
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	ip := p.Addr().As4()
	for i, m := range net.CIDRMask(p.Bits(), 32) {
		ip[i] |= ^m
	}
	return netip.AddrFrom4(ip)
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return "0.0.0.0"
	}
	return a.String()
}

// networkd is a .network file for the card. With it networkd asks for the same address in the same way, then it renews the
// lease, and name servers come to systemd-resolved.
func (l Lease) networkd() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, `# The root file system of this machine comes over this card (spate-target).
# This file counts when no other one names the card.
[Match]
MACAddress=%s
Type=ether

[Network]
KeepConfiguration=yes
`, l.MAC)
	if l.Server.IsValid() {
		b.WriteString("DHCP=ipv4\n\n[DHCPv4]\nClientIdentifier=mac\n")
		return []byte(b.String())
	}
	fmt.Fprintf(&b, "Address=%s\n", l.Address)
	if l.Router.IsValid() {
		fmt.Fprintf(&b, "Gateway=%s\n", l.Router)
	}
	for _, a := range l.DNS {
		fmt.Fprintf(&b, "DNS=%s\n", a)
	}
	return []byte(b.String())
}

// foreign are .network files that systemd brings itself. They are for tunnels, containers and Wi-Fi, none of them for a machine's
// wired card, and are not read: each file of the root that is read costs a machine that boots two round trips.
var foreign = []string{
	"80-6rd-tunnel.network", "80-container-host0.network", "80-container-vb.network", "80-container-ve.network", "80-container-vz.network",
	"80-vm-vt.network", "80-wifi-adhoc.network",
}

// networkdRuns tells whether the system in root starts networkd, or may: somebody has enabled it ("systemctl enable" makes this link),
// netplan starts it, or its distribution does as at each first boot (machine-id(5)). A system that does so in another way has its address
// put back after a pause (Link.Run). It looks in few folders: those of networkd's files were read for nothing where it does not run, and
// each folder is 5 ms of the boot of an emulated machine at 100 Mbit/s.
func networkdRuns(root string) bool {
	for _, name := range []string{"etc/systemd/system/dbus-org.freedesktop.network1.service", "etc/netplan"} {
		if _, err := os.Lstat(filepath.Join(root, name)); err == nil {
			return true
		}
	}
	// By its length, which spares a read of its content. Before the first boot there is none, or it says "uninitialized".
	id, err := os.Stat(filepath.Join(root, "etc/machine-id"))
	return err != nil || id.Size() > 0 && id.Size() < machineID
}

// machineID is the least number of bytes of a machine ID: its digits (machine-id(5)).
const machineID = 32

// networkdFiles are the names of the root's .network files that may count for the card. By which name the card will go is not known
// yet, so that a file for any card counts.
func networkdFiles(root, mac string) (names []string) {
	seen := map[string]bool{}
	for _, folder := range networkdFolders {
		entries, err := os.ReadDir(filepath.Join(root, folder))
		if err != nil {
			continue
		}
		for _, e := range entries {
			name := e.Name()
			if !strings.HasSuffix(name, ".network") || seen[name] {
				continue
			}
			seen[name] = true
			if folder != administrators && slices.Contains(foreign, name) {
				continue
			}
			if content, err := os.ReadFile(filepath.Join(root, folder, name)); err == nil && mayMatch(string(content), mac) {
				names = append(names, name)
			}
		}
	}
	return names
}

// mayMatch tells whether the [Match] of a .network file may mean a card with this MAC address.
func mayMatch(file, mac string) bool {
	section, any := "", false
	for line := range strings.Lines(file) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if section != "[Match]" || !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		any = true
		value = strings.ToLower(strings.TrimSpace(value))
		switch strings.TrimSpace(key) {
		case "MACAddress", "PermanentMACAddress":
			if !strings.Contains(strings.ReplaceAll(value, "-", ":"), mac) {
				return false
			}
		case "Type":
			if !strings.Contains(value, "ether") {
				return false
			}
		case "Driver":
			if slices.Contains(strings.Fields(value), "veth") || slices.Contains(strings.Fields(value), "tun") || slices.Contains(strings.Fields(value), "bridge") {
				return false
			}
		case "Kind", "Virtualization", "WLANInterfaceType", "SSID", "BSSID":
			return false
		}
	}
	return any
}

// nameServers gives a root without a resolv.conf one.
func nameServers(root string, l Lease) error {
	name := filepath.Join(root, "etc/resolv.conf")
	info, err := os.Lstat(name)
	content := l.resolvConf()
	if content == nil || err == nil && (!info.Mode().IsRegular() || info.Size() > 0) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(name)); err != nil {
		return nil // no system that would read it
	}
	if err := os.WriteFile(name, content, 0o644); err != nil && !errors.Is(err, syscall.EROFS) {
		return err
	}
	return nil
}

// LoadState reads StateFile.
func LoadState() (l Lease, err error) {
	b, err := os.ReadFile(StateFile)
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("%s: %w", StateFile, err)
	}
	return l, nil
}
