package nic

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// shown is what ip(8) shows as JSON.
func shown[T any](t *testing.T, args string) (out []T) {
	t.Helper()
	if err := json.Unmarshal([]byte(sh(t, append([]string{"ip", "-j"}, strings.Fields(args)...)...)), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// ipState is what the kernel has, as ip(8) tells it.
func ipState(t *testing.T) (s state) {
	byName := map[string]int{}
	for _, l := range shown[struct {
		Index                     int `json:"ifindex"`
		MTU                       int
		Name                      string `json:"ifname"`
		Type                      string `json:"link_type"`
		Address, Permaddr, Master string
		Flags                     []string
		Info                      struct {
			Kind string `json:"info_kind"`
		} `json:"linkinfo"`
	}](t, "-d link") {
		byName[l.Name] = l.Index
		c := card{index: l.Index, name: l.Name, mac: l.Address, permanent: l.Permaddr, kind: l.Info.Kind, ethernet: l.Type == "ether", mtu: l.MTU,
			up: slices.Contains(l.Flags, "UP"), carrier: slices.Contains(l.Flags, "LOWER_UP"), master: byName[l.Master]}
		if l.Name == "lo" {
			c.mac, c.kind = "", "device" // its address is zeros, which is none
		}
		s.cards = append(s.cards, c)
	}
	for _, l := range shown[struct {
		Index int `json:"ifindex"`
		Addrs []struct {
			Local, Address netip.Addr
			Prefixlen      int
			Scope          string
			Dynamic        bool
		} `json:"addr_info"`
	}](t, "-4 addr") {
		for _, a := range l.Addrs {
			if a.Address.IsValid() { // the other one of a pair
				a.Prefixlen = 32
			}
			if a.Scope == "global" {
				s.addrs = append(s.addrs, ifAddr{index: l.Index, prefix: netip.PrefixFrom(a.Local, a.Prefixlen), finite: a.Dynamic})
			}
		}
	}
	for _, r := range shown[struct{ Dst, Gateway, Dev string }](t, "-4 route") {
		if r.Dst == "default" {
			r.Dst = "0.0.0.0/0"
		} else if !strings.Contains(r.Dst, "/") {
			r.Dst += "/32"
		}
		via, _ := netip.ParseAddr(r.Gateway)
		s.routes = append(s.routes, ifRoute{index: byName[r.Dev], to: netip.MustParsePrefix(r.Dst), via: via})
	}
	return s
}

// agree looks at the kernel, and wants to see what ip(8) sees.
func agree(t *testing.T) state {
	t.Helper()
	before := ipState(t)
	for {
		got, err := look()
		if err != nil {
			t.Fatal(err)
		}
		for i := range got.cards {
			got.cards[i].driver = "" // /sys is that of another namespace
		}
		// The kernel tells a bridge of its port's carrier in its own time: a look between two that differ says nothing.
		after := ipState(t)
		if !reflect.DeepEqual(before, after) {
			before = after
			continue
		}
		if !reflect.DeepEqual(got, after) {
			t.Errorf("look says\n%+v\nip says\n%+v", got, after)
		}
		return got
	}
}

// What ip(8) has set is read as ip(8) reads it; what is set here, ip(8) shows with all that belongs to it.
func TestTheKernelIsReadAndChangedAsByIp(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip is not installed")
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces are for root")
	}
	runtime.LockOSThread() // for ever: the thread ends with the test, and its namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"link add br0 type bridge", "link add eth0 address 52:54:00:99:00:02 type veth peer name far", "link set far master br0 up", "link set br0 up mtu 1480",
		"addr add 10.1.0.1/24 dev br0", "addr add 10.2.0.1/16 dev br0 valid_lft 300 preferred_lft 300", "addr add 10.3.0.1 peer 10.3.0.2/24 dev br0",
		"addr add 10.4.0.1/24 scope link dev br0", "route add default via 10.1.0.8", "route add 10.5.0.0/16 via 10.1.0.9",
		"route add 10.6.0.0/16 dev br0 table 100", "route add blackhole 10.7.0.0/16",
	} {
		sh(t, append([]string{"ip"}, strings.Fields(c)...)...)
	}
	eth := agree(t).cards[slices.IndexFunc(agree(t).cards, func(c card) bool { return c.name == "eth0" })]
	lease := Lease{Index: eth.index, Name: "eth0", Address: netip.MustParsePrefix("10.9.0.50/24"), Router: netip.MustParseAddr("10.8.0.1"), MTU: 1400,
		Routes: []Route{{netip.MustParsePrefix("10.10.0.0/16"), netip.MustParseAddr("10.9.0.9")}, {To: netip.MustParsePrefix("10.11.0.0/16")}}}
	for range 2 {
		if err := apply(lease, ""); err != nil {
			t.Fatal(err)
		}
	}
	agree(t)
	if !linked(eth.index) || linked(99) {
		t.Error("the card's link is not seen, or one of no card")
	}
	for what, want := range map[string]string{
		"-4 -d route show dev eth0": `unicast default via 10.8.0.1 proto boot scope global onlink
unicast 10.9.0.0/24 proto kernel scope link src 10.9.0.50
unicast 10.10.0.0/16 via 10.9.0.9 proto boot scope global onlink
unicast 10.11.0.0/16 proto boot scope link`,
		"-4 -o addr show dev eth0": `inet 10.9.0.50/24 brd 10.9.0.255 scope global eth0\ valid_lft forever preferred_lft forever`,
		"-o link show dev eth0":    "mtu 1400",
	} {
		if got := strings.Join(strings.Fields(sh(t, append([]string{"ip"}, strings.Fields(what)...)...)), " "); !strings.Contains(got, strings.ReplaceAll(want, "\n", " ")) {
			t.Errorf("ip %s: %s\nwant %s", what, got, want)
		}
	}
	withdraw(eth.index, lease.Address)
	if s := agree(t); slices.ContainsFunc(s.addrs, func(a ifAddr) bool { return a.index == eth.index }) {
		t.Errorf("%+v", s.addrs)
	}
}

// Cards in a namespace have no permanent address; hardware has.
func TestACardIsReadWithItsPermanentAddress(t *testing.T) {
	message := func(kind uint16, mac ...byte) []byte {
		e := netlink.NewAttributeEncoder()
		e.String(unix.IFLA_IFNAME, "eth0")
		e.Bytes(unix.IFLA_ADDRESS, mac)
		e.Bytes(unix.IFLA_PERM_ADDRESS, []byte{0x52, 0x54, 0, 0, 0, 0xa})
		e.Nested(unix.IFLA_LINKINFO, func(e *netlink.AttributeEncoder) error { e.String(unix.IFLA_INFO_KIND, "tun"); return nil })
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		head := linkHead(7, unix.IFF_UP)
		binary.NativeEndian.PutUint16(head[2:], kind)
		return append(head, b...)
	}
	want := card{index: 7, name: "eth0", mac: "52:54:00:00:00:0b", permanent: "52:54:00:00:00:0a", kind: "tun", ethernet: true, up: true}
	if c, _, err := parseLink(message(unix.ARPHRD_ETHER, 0x52, 0x54, 0, 0, 0, 0xb)); err != nil || c != want {
		t.Errorf("%+v, %v, want %+v", c, err, want)
	}
	for _, odd := range [][]byte{message(unix.ARPHRD_ETHER, 0, 0, 0, 0, 0, 0), message(unix.ARPHRD_ETHER, 1, 2, 3, 4), message(unix.ARPHRD_INFINIBAND, 1, 2, 3, 4, 5, 6)} {
		if c, _, err := parseLink(odd); err != nil || c.ethernet {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

// The seeds are messages of a kernel. Whatever a message is, what newer kernels add to it changes nothing.
func FuzzMessages(f *testing.F) {
	f.Add(linkHead(1, 0))
	unknown := []byte{8, 0, 0xff, 0x2f, 1, 2, 3, 4}
	binary.NativeEndian.PutUint16(unknown, 8)
	f.Fuzz(func(t *testing.T, b []byte) {
		ignores(t, parseLink, b, unknown)
		ignores(t, parseAddress, b, unknown)
		ignores(t, parseRoute, b, unknown)
	})
}

// ignores tells whether parse passes over an attribute that it does not know.
func ignores[T comparable](t *testing.T, parse func([]byte) (T, bool, error), b, more []byte) {
	v, wanted, err := parse(b)
	if err != nil && wanted {
		t.Errorf("%+v is wanted, with %v", v, err)
	}
	if err != nil || len(b)%4 != 0 {
		return
	}
	if w, still, err := parse(append(slices.Clip(b), more...)); err != nil || w != v || still != wanted {
		t.Errorf("%+v %v was read, and with an attribute more %+v %v %v", v, wanted, w, still, err)
	}
}
