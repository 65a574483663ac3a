package probe

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	lan   = netip.MustParsePrefix("192.0.2.0/24")
	spate = netip.MustParseAddr("192.0.2.1")
	rival = netip.MustParseAddr("192.0.2.2")
	plain = netip.MustParseAddr("192.0.2.3")
)

// whole, proxy and lease are the offers that servers make.
func whole(k Kind, s netip.Addr, file string) Offer {
	return Offer{Kind: k, Server: s, Address: netip.MustParseAddr("192.0.2.50"), Network: lan, File: file, Class: k.class()}
}

func proxy(k Kind, s netip.Addr, file string) Offer {
	return Offer{Kind: k, Server: s, File: file, Class: k.class()}
}

func lease(k Kind, s netip.Addr, file string) Offer {
	o := whole(k, s, file)
	o.Class = ""
	return o
}

func TestWhoWinsForEachKindAndWhatToDo(t *testing.T) {
	noProxy := lease(IPXE, spate, "http://192.0.2.1:6980/script/x")
	noProxy.NoProxy = true
	elsewhere := lease(BIOS, rival, "")
	elsewhere.Network = netip.MustParsePrefix("198.51.100.0/24")
	binl := Offer{Kind: UEFI, Server: rival, File: "wds.efi", Boot: true}
	for _, c := range []struct {
		name   string
		kind   Kind
		offers []Offer
		winner netip.Addr
		result Result
		words  []string
	}{
		{"nobody", BIOS, nil, netip.Addr{}, Nothing, []string{"nobody answers", "VLAN", "relay agent"}},
		{"addresses alone", BIOS, []Offer{lease(BIOS, plain, "")}, netip.Addr{}, Nothing, []string{"no boot file", "boot.dhcp: proxy"}},
		{"a proxy alone", BIOS, []Offer{proxy(BIOS, spate, "a")}, netip.Addr{}, Nothing, []string{"but no address", "boot.dhcp: server"}},
		{"a proxy beside a server", BIOS, []Offer{lease(BIOS, plain, ""), proxy(BIOS, spate, "a")}, spate, Boots, []string{"wins with a", "proxyDHCP"}},
		{"a proxy beside a server with a file", UEFI, []Offer{lease(UEFI, plain, "b"), proxy(UEFI, spate, "a")}, spate, Boots, []string{"stands before 192.0.2.3 with b", "switch off the boot file of 192.0.2.1"}},
		{"a server that is all, and a proxy", UEFI, []Offer{proxy(UEFI, rival, "b"), whole(UEFI, spate, "a")}, spate, Boots, []string{"in one offer", "stands before 192.0.2.2 with b"}},
		{"an old server", BIOS, []Offer{lease(BIOS, plain, "pxelinux.0")}, plain, Boots, []string{"wins with pxelinux.0"}},
		{"two proxies", BIOS, []Offer{lease(BIOS, plain, ""), proxy(BIOS, spate, "a"), proxy(BIOS, rival, "b")}, spate, Conflict, []string{"192.0.2.1 and 192.0.2.2 answer with different boot files", "Switch off"}},
		{"two servers of one farm", BIOS, []Offer{whole(BIOS, spate, "ipxe/a"), whole(BIOS, rival, "ipxe/a")}, spate, Boots, []string{"the same boot file", "that is well"}},
		{"two servers of one farm, URLs", UEFIHTTP, []Offer{whole(UEFIHTTP, spate, "http://192.0.2.1:1/a"), whole(UEFIHTTP, rival, "http://192.0.2.2:1/a")}, spate, Boots, []string{"the same boot file"}},
		{"an answer at port 4011", UEFI, []Offer{lease(UEFI, plain, ""), {Kind: UEFI, Server: rival, Class: "PXEClient"}, binl}, rival, Boots, []string{"wins with wds.efi"}},
		{"HTTP boot beside a server for PXE", UEFIHTTP, []Offer{lease(UEFIHTTP, plain, "pxelinux.0")}, netip.Addr{}, Nothing, []string{"no URL with the class HTTPClient"}},
		{"HTTP boot", UEFIHTTP, []Offer{lease(UEFIHTTP, plain, ""), proxy(UEFIHTTP, spate, "http://192.0.2.1/a")}, spate, Boots, []string{"wins with http://192.0.2.1/a"}},
		{"iPXE that need not wait", IPXE, []Offer{noProxy, proxy(IPXE, rival, "b")}, spate, Boots, []string{"wait for nobody else"}},
		{"iPXE that waits", IPXE, []Offer{lease(IPXE, plain, "a"), proxy(IPXE, rival, "b")}, rival, Boots, []string{"stands before 192.0.2.3 with a"}},
		{"two networks", BIOS, []Offer{whole(BIOS, spate, "a"), elsewhere}, spate, Conflict, []string{"different networks", "192.0.2.2 gives addresses of 198.51.100.0/24"}},
	} {
		r := Judge([]Kind{c.kind}, c.offers)
		v := r.Verdicts[0]
		text := v.Text + v.Advice + strings.Join(r.Remarks, "")
		if v.Winner != c.winner || r.Result != c.result {
			t.Errorf("%s: %v wins, result %d: %s", c.name, v.Winner, r.Result, text)
		}
		for _, w := range c.words {
			if !strings.Contains(text, w) {
				t.Errorf("%s: %q does not say %q", c.name, text, w)
			}
		}
		var back Report
		b, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if word := map[Result]string{Boots: `"result":"boots"`, Nothing: `"result":"nothing"`, Conflict: `"result":"conflict"`}[c.result]; err != nil ||
			!reflect.DeepEqual(back, r) || !strings.Contains(string(b), word) || !strings.Contains(string(b), `"kind":"`+words[c.kind]+`"`) {
			t.Errorf("%s: %v: %s", c.name, err, b)
		}
		// Who was first decides between equals, and nothing else.
		if c.result == Boots && len(c.offers) > 1 && !strings.Contains(v.Text, "whichever") {
			slices.Reverse(c.offers)
			if again := Judge([]Kind{c.kind}, c.offers).Verdicts[0]; again.Winner != v.Winner {
				t.Errorf("%s: in other order %v wins", c.name, again.Winner)
			}
		}
	}
}

func FuzzOffer(f *testing.F) {
	for _, k := range Kinds {
		p := k.Discover([6]byte{2, 0, 0, 0, 0, 1}, [4]byte{1, 2, 3, 4})
		f.Add(p.ToBytes())
		p.OpCode = 2
		p.Options[53] = []byte{2}
		p.Options[175] = []byte{176, 1, 1}
		f.Add(p.ToBytes())
		p.Options[1] = []byte{255, 255, 255, 0}
		p.YourIPAddr = []byte{192, 0, 2, 50}
		p.BootFileName = "http://x/\x1b[31m"
		f.Add(p.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var offers []Offer
		for _, k := range Kinds {
			o, _, ok := parseOffer(k, spate, b)
			if !ok {
				return
			}
			if s := o.String(); strings.ContainsAny(s, "\x1b\n") {
				t.Errorf("%q", s)
			}
			offers = append(offers, o)
		}
		for _, v := range Judge(Kinds, offers).Verdicts {
			if v.Text == "" || v.Winner.IsValid() != (v.File != "") {
				t.Errorf("%+v", v)
			}
		}
	})
}
