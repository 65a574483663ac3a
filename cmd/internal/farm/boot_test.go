package farm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"go.uber.org/zap"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/cmd/internal/bootline"
	"github.com/spate-project/spate/vdisk"
)

// bootWorld is a world of which lab-a and lab-b run boot services and whose vDisk can be booted.
func bootWorld(t *testing.T, change func(*Config, map[string]*peer)) view {
	return world(t, func(c *Config, peers map[string]*peer) {
		c.Boot = &Boot{DHCP: DHCPServer, HTTP: defaultBootPort, TFTP: On, SecureBoot: Off}
		for i := range c.Servers[:2] {
			c.Servers[i].Boot = &ServerBoot{Address: c.Servers[i].Stream.Addr()}
		}
		for _, p := range peers {
			r := p.replicas[0]
			r.Boot = ReplicaBoot{Kernel: true, Image: true, CommandLine: "quiet console=tty0"}
			setReplicas(p, r)
		}
		if change != nil {
			change(c, peers)
		}
	})
}

// What a machine boots, and what the person before it reads when it does not. The golden file is to be read.
func TestWhatAMachineBootsIsDecidedWithReasons(t *testing.T) {
	known, stranger, disabled := mac(t, "52:54:00:00:00:01"), mac(t, "52:54:00:00:00:99"), mac(t, "52:54:00:00:00:03")
	one := func(f func(*Device)) func(*Config, map[string]*peer) {
		return func(c *Config, _ map[string]*peer) { f(&c.Devices[0]) }
	}
	boot := func(b ReplicaBoot) func(*Config, map[string]*peer) {
		return func(_ *Config, peers map[string]*peer) {
			for _, p := range peers {
				r := p.replicas[0]
				r.Boot = b
				setReplicas(p, r)
			}
		}
	}
	cases := []struct {
		name   string
		change func(*Config, map[string]*peer)
		mac    MAC
	}{
		{"a known device", nil, known},
		{"an unknown machine of an open collection", nil, stranger},
		{"an unknown machine that may not log in", func(c *Config, _ map[string]*peer) { c.Unknown = "" }, stranger},
		{"the same, beside another DHCP server", func(c *Config, _ map[string]*peer) { c.Unknown, c.Boot.DHCP = "", DHCPProxy }, stranger},
		{"a disabled device", nil, disabled},
		{"a collection that wants keys", func(c *Config, _ map[string]*peer) { c.Collections[0].Login = LoginKey }, known},
		{"a collection with a pre-shared key", func(c *Config, _ map[string]*peer) { c.Collections[0].PSKFile = "/etc/spate/room.psk" }, known},
		{"the same, and the device boots its own disk", func(c *Config, _ map[string]*peer) { c.Collections[0].PSKFile, c.Devices[0].Boot.Way = "/x", BootLocal }, known},
		{"boot: deny", one(func(d *Device) { d.Boot.Way = BootDeny }), known},
		{"boot: local", one(func(d *Device) { d.Boot.Way = BootLocal }), known},
		{"a menu of the device", one(func(d *Device) {
			d.VDisks = []Wanted{{Name: "debian12"}, {"debian12", 2, true}, {Name: "win11"}}
			d.Boot.Menu = &Menu{Default: Wanted{"debian12", 2, true}, Timeout: 3 * time.Second}
		}), known},
		{"a menu of the collection that prefers the local disk", func(c *Config, _ map[string]*peer) {
			c.Collections[0].Menu = &Menu{Local: true, LocalDisk: true}
		}, known},
		{"what is nearest to the machine counts", func(c *Config, _ map[string]*peer) {
			c.Boot.SecureBoot, c.Devices[0].Boot.SecureBoot = Off, On
			c.Collections[0].Booting = Booting{Shell: true, CommandLine: "spate.root=block one=1", CacheBytes: 1 << 30, Root: bootline.RootOverlay, SecureBoot: Off}
			c.Devices[0].Boot.CommandLine = "one=2"
			c.Devices[0].Boot.Address, c.Devices[0].Boot.Hostname = netip.MustParseAddr("192.0.2.50"), "pc-01"
		}, known},
		{"no kernel", boot(ReplicaBoot{}), known},
		{"no boot image", boot(ReplicaBoot{Kernel: true}), known},
		{"too long a command line", boot(ReplicaBoot{Kernel: true, Image: true, CommandLine: strings.Repeat("x", 2000)}), known},
		{"a boot section that is damaged here", func(_ *Config, p map[string]*peer) {
			r := p["lab-a"].replicas[0]
			r.Boot = ReplicaBoot{Kernel: true, Problem: "its boot image is damaged"}
			setReplicas(p["lab-a"], r)
		}, known},
		{"this server has no replica, and another one is dead", func(_ *Config, p map[string]*peer) {
			setReplicas(p["lab-a"])
			p["lab-b"].alive = false
		}, known},
		{"the stream service of this server is stopped", func(_ *Config, p map[string]*peer) { p["lab-a"].report.State = StreamStopped }, known},
		{"only some servers may serve the collection", func(c *Config, _ map[string]*peer) { c.Collections[0].Servers = []string{"lab-c"} }, known},
		{"nobody holds the vDisk", func(_ *Config, p map[string]*peer) {
			for _, one := range p {
				setReplicas(one)
			}
		}, known},
	}
	var b strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&b, "# %s\n", c.name)
		writeEntry(t, &b, shown(bootWorld(t, c.change).boot(c.mac, bootFacts{key: "spate1key"})))
	}
	golden(t, "boot.golden", b.String())
}

// writeEntry writes an entry as the golden file has it.
func writeEntry(t *testing.T, b *strings.Builder, e BootEntry) {
	fmt.Fprintln(b, e.Why)
	for _, row := range []struct {
		name  string
		there bool
		value any
	}{{"refusal", e.Refusal != "", e.Refusal}, {"silent", e.Silent, true}, {"local", e.Local, true}, {"address", e.Address != "", e.Address},
		{"hostname", e.Hostname != "", e.Hostname}, {"timeout", e.Timeout > 0, e.Timeout}, {"local disk", e.LocalDisk, true},
		{"local default", e.LocalDefault, true}, {"secure boot", e.SecureBoot, true}} {
		if row.there {
			fmt.Fprintf(b, "  %s: %v\n", row.name, row.value)
		}
	}
	for _, x := range e.Choices {
		fmt.Fprintf(b, "  - %s, default %t\n", x.Title, x.Default)
		if x.Missing != "" {
			fmt.Fprintf(b, "    missing: %s\n", x.Missing)
		}
		if x.CommandLine != "" && len(x.CommandLine) < 500 {
			fmt.Fprintf(b, "    %s\n", x.CommandLine)
		}
		if _, mistakes := bootline.Parse(x.CommandLine); x.Missing == "" && mistakes != nil {
			t.Errorf("a machine cannot read its command line: %q", mistakes)
		}
	}
	b.WriteByte('\n')
}

// The script asks this server first and the dead ones last.
func TestTheScriptNamesEveryServerWithBootServices(t *testing.T) {
	facts := bootFacts{here: netip.MustParseAddrPort("192.0.2.11:6980")}
	v := bootWorld(t, func(c *Config, p map[string]*peer) {
		c.Servers[2].Boot = &ServerBoot{Address: netip.MustParseAddr("192.0.2.113")}
		p["lab-b"].alive = false
	})
	got := fmt.Sprint(v.bootFarm(facts).Servers)
	if want := "[{lab-a 192.0.2.11 6980} {lab-c 192.0.2.113 6980} {lab-b 192.0.2.12 6980}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// bootable makes the file of a vDisk that can be booted.
func bootableFile(t *testing.T, dir, kernel string) {
	t.Helper()
	source := func(text string) vdisk.BootSource {
		return vdisk.BootSource{Name: text, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
	}
	_, err := vdisk.Import(t.Context(), vdisk.ImportOptions{
		Source: "-", Input: strings.NewReader(strings.Repeat("x", 64<<10)), Into: dir, Name: "tiny", Codec: vdisk.DefaultCodec,
		Boot: vdisk.BootFiles{Kernel: source(kernel), CommandLine: "quiet"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Without a farm file whatever can be booted is offered; its files come out of the store, and what was done is remembered.
func TestAnOpenFarmBootsWhatItsFolderHolds(t *testing.T) {
	dir := t.TempDir()
	bootableFile(t, dir, "a kernel")
	store := vdisk.NewStore(OpenStore, dir, vdisk.StoreOptions{})
	t.Cleanup(store.Close)
	store.Scan()
	core, logged := observer.New(zapcore.DebugLevel)
	f, err := New(Options{
		Name: "lab-a", Config: OpenConfig(), Stream: netip.MustParseAddrPort("192.0.2.11:6910"), Stores: []*vdisk.Store{store},
		FarmKey: "spate1key", Boot: netip.MustParseAddrPort("192.0.2.11:6980"), Log: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	f.Refresh()
	d, m := f.Directory(), bootsvc.MAC{0x52, 0x54, 0, 0, 0, 9}
	e := d.Boot(bootsvc.Client{MAC: m})
	// It carries no boot image: the machine is told so.
	if !strings.Contains(e.Refusal, "tiny version 0 carries no boot image") {
		t.Errorf("%+v", e)
	}
	c, err := d.Open("tiny", 0, Content{Root: Digest(store.Inventory().Replicas[0].ID.Root)}.tag(), bootsvc.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, c.Size())
	if _, err := c.ReadAt(b, 0); err != nil || string(b) != "a kernel" || c.Tag() == "" {
		t.Errorf("%q, %q, %v", b, c.Tag(), err)
	}
	c.Close()
	for want, open := range map[string]func() (bootsvc.Content, error){
		"carries no boot image":                func() (bootsvc.Content, error) { return d.Open("tiny", 0, "", bootsvc.Image) },
		"the boot script is for a vDisk":       func() (bootsvc.Content, error) { return d.Open("tiny", 0, "0123456789abcdef", bootsvc.Kernel) },
		"no server holds vDisk tiny version 1": func() (bootsvc.Content, error) { return d.Open("tiny", 1, "", bootsvc.Kernel) },
		"no vDisk is called other":             func() (bootsvc.Content, error) { return d.Open("other", 0, "", bootsvc.Kernel) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}

	d.Note(bootsvc.Event{Service: "dhcp", Text: "another DHCP server answers", Problem: true})
	for i := range maxMachines { // nor do other machines drive it out
		d.Note(bootsvc.Event{MAC: bootsvc.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Service: "dhcp", Text: "offered"})
	}
	d.Note(bootsvc.Event{MAC: m, Service: "dhcp", Text: "offered"})
	d.Note(bootsvc.Event{MAC: m, Service: "dhcp", Text: "offered"})
	d.Note(bootsvc.Event{MAC: m, Service: "script", Text: "refused", Problem: true, Script: true})
	x, err := f.Explain(context.Background(), MAC(m).String())
	if err != nil || len(x.Boot) != 1 {
		t.Fatalf("%+v, %v", x, err)
	}
	if v := x.Boot[0]; !v.Runs || v.Seen != 3 || len(v.Events) != 2 || v.Events[0].Times != 2 || !v.Events[1].Problem || v.Entry.Refusal != e.Refusal {
		t.Errorf("%+v", v)
	}
	if all := x.Boot[0].Network; len(all) != 1 || all[0].Text != "another DHCP server answers" {
		t.Errorf("of the network: %+v", all)
	}
	if n := logged.FilterLevelExact(zapcore.WarnLevel).FilterMessage("refused").Len(); n != 1 {
		t.Errorf("the problem is logged as a warning %d times", n)
	}
	if err := os.Remove(filepath.Join(dir, vdisk.FileName("tiny", 0))); err != nil {
		t.Fatal(err)
	}
	store.Scan()
	if _, err := d.Open("tiny", 0, "", bootsvc.Kernel); err == nil || !strings.Contains(err.Error(), "lab-a does not hold vDisk tiny version 0; no other server that is alive has it") {
		t.Errorf("a file that is gone: %v", err)
	}
}

// A boot file that is damaged is told as that, and not as a piece of the disk that other servers are asked for.
func TestADamagedBootFileIsNoDamagedBlock(t *testing.T) {
	dir := t.TempDir()
	bootableFile(t, dir, "a kernel")
	path := filepath.Join(dir, vdisk.FileName("tiny", 0))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, []byte("a kernel"))]++
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	store := vdisk.NewStore(OpenStore, dir, vdisk.StoreOptions{})
	t.Cleanup(store.Close)
	store.Scan()
	f, err := New(Options{Name: "lab-a", Config: OpenConfig(), Stores: []*vdisk.Store{store}, Boot: netip.MustParseAddrPort("192.0.2.11:6980")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	f.Refresh()
	if _, err := f.Directory().Open("tiny", 0, "", bootsvc.Kernel); err == nil {
		t.Fatal("a damaged kernel is given out")
	}
	f.Refresh()
	list, err := f.VDisks(t.Context())
	if err != nil || len(list.VDisks) != 1 || len(list.VDisks[0].Copies) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if c := list.VDisks[0].Copies[0]; c.Fenced != 0 || !strings.Contains(c.BootProblem, "tiny version 0 cannot be booted from here, its kernel is damaged") {
		t.Errorf("%+v", c)
	}
}

// A flood of made-up MAC addresses costs a bounded memory and forgets those that were not heard of for longest.
func TestWhatIsRememberedOfMachinesIsBounded(t *testing.T) {
	var m machines
	now := time.Unix(0, 0)
	for i := range maxMachines + 10 {
		m.note(now, bootsvc.Event{MAC: bootsvc.MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}, Text: "x"})
		m.note(now, bootsvc.Event{MAC: bootsvc.MAC{2, 1}, Text: fmt.Sprint(i) + strings.Repeat("y", 2*maxEventBytes)})
	}
	if n := len(m.all); n != maxMachines || m.recent.Len() != n {
		t.Errorf("%d machines are remembered", n)
	}
	events, seen := m.events(MAC{2, 1})
	if len(events) != maxMachineEvents || seen != maxMachines+10 || len(events[0].Text) != maxEventBytes || !strings.HasPrefix(events[maxMachineEvents-1].Text, fmt.Sprint(maxMachines+9)) {
		t.Errorf("%d of %d events, the last %.20q", len(events), seen, events[len(events)-1].Text)
	}
	if _, seen := m.events(MAC{2, 0, 0, 0, 0, 5}); seen != 0 {
		t.Error("the machine heard of first is still remembered")
	}
}

// Power-on counts from the first that a server heard of a machine. What its system does later with DHCP changes nothing,
// and what cannot be of this start is not told.
func TestTheBootTimeCountsFromTheFirstThatWasHeardOfTheMachine(t *testing.T) {
	var m machines
	mac, on := bootsvc.MAC{2, 1}, time.Unix(1000, 0)
	kernel := on.Add(5 * time.Second)
	check := func(what string, now time.Time, uptime, want time.Duration) {
		t.Helper()
		if got := m.firmware(now, MAC(mac), uptime); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	m.note(on.Add(-time.Hour), bootsvc.Event{MAC: mac, Text: "another start", Script: true})
	m.note(on, bootsvc.Event{MAC: mac, Text: "discover", Firmware: true})
	m.note(on.Add(3*time.Second), bootsvc.Event{MAC: mac, Text: "script", Script: true})
	now := on.Add(10 * time.Second)
	check("no uptime", now, 0, 0)
	check("a kernel that started before its script was loaded", now, now.Sub(on), 0)
	check("a kernel that started long after it", now.Add(time.Hour), time.Minute, 0)
	check("this start", now, now.Sub(kernel), 5*time.Second)
	check("the session of the last start, beside this one", now, time.Hour, 0)
	m.note(on.Add(time.Hour), bootsvc.Event{MAC: mac, Text: "renewed"})
	m.note(on.Add(2*time.Hour), bootsvc.Event{MAC: mac, Text: "renewed"})
	check("days later, by a clock that goes faster", kernel.Add(100*time.Hour), 100*time.Hour+20*time.Second, 5*time.Second)

	// It is reset soon: a moment before, its system was still heard of.
	again := on.Add(101 * time.Hour)
	m.note(again.Add(-time.Second), bootsvc.Event{MAC: mac, Text: "renewed"})
	for range 2 { // firmware, and then iPXE
		m.note(again, bootsvc.Event{MAC: mac, Text: "discover", Firmware: true})
		again = again.Add(time.Second)
	}
	m.note(again, bootsvc.Event{MAC: mac, Text: "script", Script: true})
	check("after a reset", again.Add(5*time.Second), 4*time.Second, 3*time.Second)

	// A slow link: kernel and boot image take longer than firmware is ever silent.
	slow := again.Add(time.Hour)
	m.note(slow, bootsvc.Event{MAC: mac, Text: "discover", Firmware: true})
	m.note(slow.Add(time.Second), bootsvc.Event{MAC: mac, Text: "script", Script: true})
	m.note(slow.Add(5*time.Minute), bootsvc.Event{MAC: mac, Text: "loaded the boot image"})
	check("over a slow link", slow.Add(6*time.Minute), 50*time.Second, 5*time.Minute+10*time.Second)
	again = slow.Add(7 * time.Minute)

	// And once more, with the script of another server, which knows.
	m.note(again.Add(time.Minute), bootsvc.Event{MAC: mac, Text: "discover", Firmware: true})
	check("a start with the script of another server", again.Add(2*time.Minute), 50*time.Second, 0)
}

// A server that starts alone answers machines after a moment in which it would have heard of the others, and not before.
func TestAServerListensForTheOthersBeforeItAnswersMachines(t *testing.T) {
	config, err := ParseConfig("farm.yaml", readTestFile(t, "world.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		f, err := New(Options{Name: "lab-a", Config: config})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		began := time.Now()
		f.Settle(t.Context())
		if took := time.Since(began); took < listenFirst || took > listenFirst+time.Second/10 {
			t.Errorf("it waited %s", took)
		}
		began = time.Now()
		f.Settle(t.Context())
		if took := time.Since(began); took > 0 {
			t.Errorf("later it waited %s", took)
		}
	})
}
