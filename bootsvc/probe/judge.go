package probe

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Result is the outcome for all kinds together.
type Result int

// The results, from good to bad.
const (
	// Boots: somebody gives a boot file to at least one kind, and nobody contradicts.
	Boots Result = iota
	// Nothing: nobody gives a boot file to anybody.
	Nothing
	// Conflict: servers contradict one another.
	Conflict
)

var resultWords = map[Result]string{Boots: "boots", Nothing: "nothing", Conflict: "conflict"}

// MarshalText writes boots, nothing or conflict.
func (r Result) MarshalText() ([]byte, error) { return marshal(resultWords, r) }

// UnmarshalText reads what MarshalText writes.
func (r *Result) UnmarshalText(text []byte) error { return unmarshal(resultWords, text, r) }

// Verdict is what will happen to one kind of machine.
type Verdict struct {
	Kind Kind `json:"kind"`
	// Name is the kind in words.
	Name   string  `json:"name"`
	Offers []Offer `json:"offers"`
	// Winner is who gives the boot file; not valid when nobody does.
	Winner netip.Addr `json:"winner"`
	File   string     `json:"file"`
	// Conflict tells that it depends on chance.
	Conflict bool `json:"conflict"`
	// Text says what happens and why, Advice what to do; Advice may be empty.
	Text   string `json:"text"`
	Advice string `json:"advice"`
}

// Report is what Judge finds.
type Report struct {
	Verdicts []Verdict `json:"verdicts"`
	// Remarks are sentences about the network as a whole.
	Remarks []string `json:"remarks"`
	Result  Result   `json:"result"`
}

// Judge says for each kind who wins.
func Judge(kinds []Kind, offers []Offer) Report {
	r := Report{Remarks: []string{}, Result: Nothing}
	for _, k := range kinds {
		var mine []Offer
		for _, o := range offers {
			if o.Kind == k {
				mine = append(mine, o)
			}
		}
		v := judge(k, mine)
		r.Verdicts = append(r.Verdicts, v)
		if v.Conflict {
			r.Result = Conflict
		} else if v.Winner.IsValid() && r.Result == Nothing {
			r.Result = Boots
		}
	}
	networks := map[netip.Prefix]netip.Addr{}
	for _, o := range offers {
		if o.Network.IsValid() {
			if _, ok := networks[o.Network]; !ok {
				networks[o.Network] = o.Server
			}
		}
	}
	if len(networks) > 1 {
		var all []string
		for n, s := range networks {
			all = append(all, fmt.Sprintf("%s gives addresses of %s", s, n))
		}
		slices.Sort(all)
		r.Remarks = append(r.Remarks, "Servers give addresses of different networks, so machines land in one or the other by chance: "+
			strings.Join(all, ", ")+". Switch off the one that does not belong here.")
		r.Result = Conflict
	}
	return r
}

// ranks of offers with a boot file, the lowest number first. Firmware collects offers for some seconds, takes one for the address,
// and looks for the file in this order (PXE 2.1 section 2.2.2; EDK2 and iPXE do the same).
const (
	rankWhole = iota // address and file from one server, which says that it speaks PXE
	rankProxy        // the file from a proxyDHCP server, the address from any
	rankPlain        // address and file from a server that repeats no vendor class
)

func judge(k Kind, offers []Offer) Verdict {
	v := Verdict{Kind: k, Name: k.String(), Offers: offers}
	if v.Offers == nil {
		v.Offers = []Offer{}
	}
	ranked, noProxy := map[int][]Offer{}, false
	addressed := slices.ContainsFunc(offers, func(o Offer) bool { return o.Address.IsValid() })
	for _, o := range offers {
		noProxy = noProxy || k == IPXE && o.NoProxy && o.Address.IsValid()
	}
	for _, o := range offers {
		if rank, ok := o.rank(k); ok && !(rank == rankProxy && noProxy) {
			ranked[rank] = append(ranked[rank], o)
		}
	}
	for rank := rankWhole; rank <= rankPlain; rank++ {
		if len(ranked[rank]) > 0 && addressed {
			v.win(rank, ranked[rank], ranked, noProxy)
			return v
		}
	}
	v.lose(addressed)
	return v
}

// rank tells where an offer stands; false for one without a file for this kind.
func (o Offer) rank(k Kind) (int, bool) {
	said := strings.HasPrefix(o.Class, k.class())
	switch {
	case o.File == "" || k == UEFIHTTP && (!said || !isURL(o.File)):
		return 0, false
	case o.Address.IsValid() && (said || k == IPXE && o.NoProxy):
		return rankWhole, true
	case o.Address.IsValid():
		return rankPlain, true
	case said || o.Boot:
		return rankProxy, true
	default:
		return 0, false
	}
}

func isURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// name is the file without the server that it is loaded from: servers that give the same one do not contradict one another.
func (o Offer) name() string {
	if u, err := url.Parse(o.File); err == nil && u.Host != "" {
		return u.Path
	}
	return path.Clean("/" + o.File)
}

func (v *Verdict) win(rank int, top []Offer, ranked map[int][]Offer, noProxy bool) {
	best := top[0]
	v.Winner, v.File = best.Server, best.File
	how := map[int]string{
		rankWhole: "it gives address and boot file in one offer",
		rankProxy: "it gives the boot file as proxyDHCP server, and another server gives the address",
		rankPlain: "it gives address and boot file",
	}[rank]
	if noProxy {
		how += " and tells iPXE to wait for nobody else"
	}
	servers, files := []string{}, map[string]bool{}
	for _, o := range top {
		files[o.name()] = true
		if s := o.Server.String(); !slices.Contains(servers, s) {
			servers = append(servers, s)
		}
	}
	switch {
	case len(files) > 1 && len(servers) > 1:
		v.Conflict = true
		v.Text = fmt.Sprintf("%s answer with different boot files; which one wins is chance, here %s was first with %s", list(servers), best.Server, best.File)
		v.Advice = "Switch off the boot service of all but one of them, or keep it from these machines."
	case len(servers) > 1:
		v.Text = fmt.Sprintf("%s answer with the same boot file, %s; whichever is first wins, and that is well", list(servers), best.File)
	default:
		v.Text = fmt.Sprintf("%s wins with %s: %s", best.Server, best.File, how)
	}
	var beaten []string
	for r := rank + 1; r <= rankPlain; r++ {
		for _, o := range ranked[r] {
			if s := fmt.Sprintf("%s with %s", o.Server, o.File); o.Server != best.Server && o.name() != best.name() && !slices.Contains(beaten, s) {
				beaten = append(beaten, s)
			}
		}
	}
	if len(beaten) > 0 && !v.Conflict {
		v.Text += "; it stands before " + list(beaten)
		v.Advice = "If another one is to win, switch off the boot file of " + best.Server.String() + "."
	}
}

func (v *Verdict) lose(addressed bool) {
	switch {
	case len(v.Offers) == 0:
		v.Text = "nobody answers"
		v.Advice = "Is the cable in the right VLAN? Does its switch port forward at once (portfast)? A DHCP server on another network needs a relay agent (IP helper) on this one; a firewall must let UDP 67, 68 and 4011 through."
	case !addressed:
		v.Text = "boot files are offered, but no address: the machine gives up"
		v.Advice = "A proxyDHCP server stands beside a DHCP server; that one does not answer here. Start it, or let Spate give the addresses (boot.dhcp: server)."
	case v.Kind == UEFIHTTP:
		v.Text = "addresses are offered, but no URL with the class HTTPClient: the firmware gives up HTTP boot and tries PXE, if it is switched on"
		v.Advice = "Switch on Spate's DHCP (boot.dhcp: proxy beside this server), or let the DHCP server answer HTTPClient with option 60 and a URL."
	default:
		v.Text = "addresses are offered, but no boot file: the machine goes on to its next boot device"
		v.Advice = "Switch on Spate's DHCP (boot.dhcp: proxy beside this server), or set next-server and boot file in the DHCP server."
	}
}

func list(all []string) string {
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]
}

// String says what an offer holds, in words.
func (o Offer) String() string {
	what := "no boot file"
	if o.File != "" {
		what = "boot file " + o.File
		if o.From != "" && !isURL(o.File) {
			what += " from " + o.From
		}
	}
	switch {
	case o.Boot:
		return fmt.Sprintf("%s answers at port 4011: %s", o.Server, what)
	case o.Address.IsValid():
		return fmt.Sprintf("%s offers address %s, %s", o.Server, o.Address, what)
	default:
		return fmt.Sprintf("%s offers no address, %s (proxyDHCP)", o.Server, what)
	}
}
