package farm

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spate-project/spate/stream"
	"github.com/spate-project/spate/stream/wire"
	"github.com/spate-project/spate/vdisk"
)

// world is a view of three servers of which the tests change one thing at a time.
func world(t *testing.T, change func(*Config, map[string]*peer)) view {
	t.Helper()
	c, err := ParseConfig("farm.yaml", readTestFile(t, "world.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	peers := map[string]*peer{}
	for i, s := range c.Servers {
		r := replica(3, 'A', 5)
		r.Store, r.Size, r.Chunk = "main", 8<<30, 16<<10
		peers[s.Name] = &peer{
			name: s.Name, alive: true, heard: 200 * time.Millisecond,
			meta:   Meta{Start: 1, ID: Digest16{byte(i)}, Stream: s.Stream},
			report: report{From: s.Name, Load: Load{State: StreamServing, Sessions: 10 * (i + 1)}, Config: c.Hash},
		}
		setReplicas(peers[s.Name], r)
	}
	if change != nil {
		change(c, peers)
	}
	v := view{config: c, self: "lab-a"}
	for _, name := range sortedKeys(peers) {
		v.peers = append(v.peers, *peers[name])
	}
	return v
}

func setReplicas(p *peer, all ...Replica) {
	p.replicas = all
	p.index = map[shelf]map[uint32]Replica{}
	for _, r := range all {
		at := shelf{r.Store, r.VDisk}
		if p.index[at] == nil {
			p.index[at] = map[uint32]Replica{}
		}
		p.index[at][r.Number] = r
	}
}

func mac(t *testing.T, s string) MAC {
	t.Helper()
	m, err := ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The sentences are what the person before the machine reads; the verdicts are what explain prints.
func TestLogInsAreDecidedWithReasons(t *testing.T) {
	known, stranger := mac(t, "52:54:00:00:00:01"), mac(t, "52:54:00:00:00:99")
	keyed, disabled := mac(t, "52:54:00:00:00:02"), mac(t, "52:54:00:00:00:03")
	content := Content{replica(3, 'A', 5).Root, 5}
	old := Content{replica(2, 'O', 4).Root, 4}
	cases := []struct {
		name   string
		change func(*Config, map[string]*peer)
		ask    ask
	}{
		{"a known device", nil, ask{mac: known}},
		{"an unknown device gets the open collection", nil, ask{mac: stranger}},
		{"an unknown device without an open collection", func(c *Config, _ map[string]*peer) { c.Unknown = "" }, ask{mac: stranger}},
		{"a disabled device", nil, ask{mac: disabled}},
		{"a wrong key", nil, ask{mac: keyed, key: DeviceKey{9}}},
		{"a collection that wants keys", func(c *Config, _ map[string]*peer) { c.Collections[0].Login = LoginKey }, ask{mac: known, key: DeviceKey{1}}},
		{"a vDisk that is not offered", nil, ask{mac: known, vdisk: Wanted{Name: "win11"}}},
		{"one of the several vDisks of a device", func(c *Config, _ map[string]*peer) {
			c.Devices[0].VDisks = []Wanted{{Name: "win11"}, {"debian12", 3, true}}
		}, ask{mac: known, vdisk: Wanted{"debian12", 3, true}}},
		{"a version by number", nil, ask{mac: known, vdisk: Wanted{"debian12", 3, true}}},
		{"a version that nobody holds", nil, ask{mac: known, vdisk: Wanted{"debian12", 7, true}}},
		{"a higher version is pending", func(_ *Config, p map[string]*peer) {
			four := replica(4, 'B', 9)
			four.Store = "main"
			setReplicas(p["lab-a"], append(slices.Clone(p["lab-a"].replicas), four)...)
		}, ask{mac: known}},
		{"a replica with another timestamp", func(_ *Config, p map[string]*peer) {
			r := p["lab-c"].replicas[0]
			r.Timestamp = 6
			setReplicas(p["lab-c"], r)
			p["lab-c"].report.Sessions = 0
		}, ask{mac: known, vdisk: Wanted{"debian12", 3, true}}},
		{"no server is alive but this one, which is stopped", func(_ *Config, p map[string]*peer) {
			p["lab-a"].report.State = StreamStopped
			p["lab-b"].alive, p["lab-b"].heard = false, 9*time.Second
			p["lab-c"].alive, p["lab-c"].heard = false, -1
		}, ask{mac: known}},
		{"nobody holds the vDisk", func(_ *Config, p map[string]*peer) {
			for _, one := range p {
				setReplicas(one)
			}
		}, ask{mac: known}},
		{"all are full", fillUp, ask{mac: known}},
		{"all are full, for a target that was served", fillUp, ask{mac: known, reconnect: true}},
		{"a target goes on with the version that it uses", func(_ *Config, p map[string]*peer) {
			r := replica(2, 'O', 4)
			r.Store = "main"
			setReplicas(p["lab-b"], append(slices.Clone(p["lab-b"].replicas), r)...)
		}, ask{mac: known, content: &old}},
		{"a resuming target whose content is gone", nil, ask{mac: known, resume: true, content: &old}},
		{"a resuming target that has left the farm file", func(c *Config, _ map[string]*peer) { c.Unknown = "" }, ask{mac: stranger, resume: true, content: &content}},
	}
	var b strings.Builder
	for _, c := range cases {
		v := world(t, c.change)
		e := v.explain(c.ask)
		fmt.Fprintf(&b, "# %s\n%s: %s, %s (%s)\n", c.name, v.decide(c.ask).result, e.Device, e.VDisk, e.Why)
		if e.Refusal != "" {
			fmt.Fprintf(&b, "%s: %s\n", v.decide(c.ask).code, e.Refusal)
		}
		for _, s := range e.Servers {
			fmt.Fprintf(&b, "  %s  %s\n", s.Server, s.Reason)
		}
		b.WriteByte('\n')
	}
	golden(t, "decide.golden", b.String())
}

// fillUp gives every server as many targets as it may have.
func fillUp(c *Config, _ map[string]*peer) {
	for i := range c.Servers {
		c.Servers[i].Limit = 10
	}
}

// An open farm has no farm file: whoever has the key is a server, and every vDisk can be attached.
func TestOpenFarmServesWhatIsThere(t *testing.T) {
	v := view{config: OpenConfig(), self: "a"}
	for _, name := range []string{"a", "b", "c"} {
		p := peer{name: name, alive: true, report: report{Load: Load{State: StreamServing}}, meta: Meta{Stream: netip.MustParseAddrPort("192.0.2.1:6910")}}
		if name != "c" { // whose folder is empty: it holds nothing back
			r := replica(1, 'A', 5)
			r.Store = OpenStore
			setReplicas(&p, r)
		}
		v.peers = append(v.peers, p)
	}
	for _, want := range []Wanted{{}, {Name: "debian12"}, {"debian12", 1, true}} {
		o := v.decide(ask{mac: MAC{2, 1}, vdisk: want})
		if o.result != wire.ResultAccept || o.version.Number != 1 || len(o.choice.Ranked) != 2 {
			t.Errorf("%q: %s %s, version %d, servers %v", want, o.result, o.sentence, o.version.Number, o.choice.Ranked)
		}
	}
	if o := v.decide(ask{mac: MAC{2, 1}, vdisk: Wanted{Name: "win11"}}); o.code != wire.CodeUnknownVDisk {
		t.Errorf("a vDisk that is not there: %s", o.sentence)
	}
}

func TestServerListensBeforeItOffersWhatOthersMayLack(t *testing.T) {
	c, err := ParseConfig("farm.yaml", readTestFile(t, "world.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	seal(t, dir)
	s := vdisk.NewStore("main", dir, vdisk.StoreOptions{})
	defer s.Close()
	s.Scan()
	f, err := New(Options{Name: "lab-a", Config: c, Stores: []*vdisk.Store{s}, Stream: c.Servers[0].Stream})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.Attach(&streams{})
	f.peers.report()
	login := who(wire.Login{Number: wire.NewestVersion})
	if d := f.Admit(login); d.Result != wire.ResultBusy || d.Code != wire.CodeStarting {
		t.Errorf("just started: %s %s", d.Result, d.Sentence)
	}
	f.born = f.born.Add(-listenFirst)
	d := f.Admit(login)
	if d.Result != wire.ResultAccept {
		t.Errorf("a while later: %s %s", d.Result, d.Sentence)
	}
	f.born = time.Now()
	login.Login.HasContent, login.Login.Content = true, d.Disk.Content
	if d := f.Admit(login); d.Result != wire.ResultAccept {
		t.Errorf("just started, and the target uses the version already: %s %s", d.Result, d.Sentence)
	}
}

func TestUnknownDevicesAreBoundedByMinute(t *testing.T) {
	var s strangers
	for i := range maxNewcomers {
		m := MAC{2, 0, 0, 0, byte(i >> 8), byte(i)}
		if !s.welcome(at(float64(i)/10), m) {
			t.Fatalf("newcomer %d was refused", i)
		}
		s.add(at(float64(i)/10), m)
	}
	if s.welcome(at(30), MAC{2, 1}) {
		t.Error("one more within the minute was let in")
	}
	if !s.welcome(at(30), MAC{2, 0, 0, 0, 0, 7}) {
		t.Error("one that was let in before was refused")
	}
	if !s.welcome(at(61), MAC{2, 1}) {
		t.Error("refused after the minute")
	}
}

func TestTwoServersWithOneVDiskManageEachOther(t *testing.T) {
	dirA, dirB := t.TempDir(), t.TempDir()
	file := seal(t, dirA)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirB, filepath.Base(file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	a, onA := startFarm(t, "lab-a", dirA)
	b, onB := startFarm(t, "lab-b", dirB, a.PeerAddr())
	until(t, "both see two servers with one identical version", func() bool {
		for _, f := range []*Farm{a, b} {
			l, err := f.VDisks(t.Context())
			if err != nil || len(l.VDisks) != 1 || len(l.VDisks[0].Copies) != 2 || l.VDisks[0].Copies[1].State != "identical" ||
				!l.VDisks[0].Copies[0].Live || !l.VDisks[0].Copies[1].Live {
				return false
			}
		}
		return true
	})

	d := a.Admit(who(wire.Login{VDisk: "debian12", Number: wire.NewestVersion}))
	if d.Result != wire.ResultAccept && d.Result != wire.ResultRefer || d.Disk.Name != "debian12" || d.Disk.Size == 0 {
		t.Fatalf("log-in: %+v", d)
	}
	onA.serves(stream.SessionView{MAC: [6]byte{2, 0, 0, 0, 0, 7}, Disk: d.Disk, Confirmed: true})
	alternates := a.Alternates(who(wire.Login{}), d.Disk.Content)
	if len(alternates.List) != 1 || alternates.List[0].Name != "lab-b" || alternates.List[0].State != wire.StateServing {
		t.Errorf("alternates: %+v", alternates)
	}
	targets, err := b.Targets(t.Context())
	if err != nil || len(targets.Targets) != 1 || targets.Targets[0].Server != "lab-a" {
		t.Errorf("targets as b lists them: %+v, %v", targets, err)
	}
	if e, err := b.Explain(t.Context(), "02:00:00:00:00:07"); err != nil || e.Serving != "lab-a" || len(e.Servers) != 2 || e.Refusal != "" {
		t.Errorf("explain: %+v, %v", e, err)
	}

	var steps []StopProgress
	end, err := b.StopStream(t.Context(), StopRequest{Server: "lab-a"}, func(p StopProgress) { steps = append(steps, p) })
	if err != nil || !end.Done || end.Moved != 1 || end.Left != 0 || end.LongestPause != 3*time.Millisecond || len(steps) < 2 {
		t.Fatalf("stop of a by b: %+v after %+v, %v", end, steps, err)
	}
	onB.serves(stream.SessionView{MAC: [6]byte{2, 0, 0, 0, 0, 7}, Disk: d.Disk, Confirmed: true})
	until(t, "b knows that a is stopped", func() bool {
		l, err := b.Servers(t.Context())
		return err == nil && l.Servers[0].State == "stopped"
	})
	_, err = a.StopStream(t.Context(), StopRequest{Server: "lab-b"}, nil)
	if CodeOf(err) != ErrorConflict || !strings.Contains(err.Error(), "1 of 1 targets of lab-b would have nowhere to go (02:00:00:00:00:07)") {
		t.Errorf("a stop that strands its target: %v", err)
	}
	if _, err := a.StopStream(t.Context(), StopRequest{Server: "lab-z"}, nil); CodeOf(err) != ErrorNotFound {
		t.Errorf("a stop of nobody: %v", err)
	}
	if err := b.StartStream(t.Context(), "lab-a"); err != nil || !onA.Streaming() {
		t.Errorf("start of a by b: %v", err)
	}
}

func TestAStartTakesAStopBack(t *testing.T) {
	a, onA := startFarm(t, "lab-a", t.TempDir())
	onA.serves(stream.SessionView{MAC: [6]byte{2, 0, 0, 0, 0, 7}, Confirmed: true})
	stuck := onA.sticks()
	type result struct {
		p   StopProgress
		err error
	}
	ended := make(chan result, 1)
	go func() { // received below
		p, err := a.StopStream(t.Context(), StopRequest{Server: "lab-a", Force: true, Deadline: time.Hour}, nil)
		ended <- result{p, err}
	}()
	<-stuck
	if err := a.StartStream(t.Context(), "lab-a"); err != nil || !onA.Streaming() {
		t.Errorf("start during a stop: %v, streaming %v", err, onA.Streaming())
	}
	r := <-ended
	if CodeOf(r.err) != ErrorUnfinished || !strings.Contains(r.err.Error(), "0 of 2 targets have moved, 1 stay") || !r.p.Done || r.p.Silent != 1 {
		t.Errorf("the stop: %+v, %v", r.p, r.err)
	}
	if tell := a.tell(); tell.State != StreamServing {
		t.Errorf("it tells the others that it is %s", tell.State)
	}
}

func TestAcceptedTargetGetsAnImageThatStaysReadable(t *testing.T) {
	dir := t.TempDir()
	file := seal(t, dir)
	f, _ := startFarm(t, "lab-a", dir)
	f.peers.report()
	d := f.Admit(who(wire.Login{VDisk: "debian12", Number: 0}))
	im, ok := d.Image.(stream.Image)
	if d.Result != wire.ResultAccept || !ok {
		t.Fatalf("log-in: %+v", d)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	top := int(d.Disk.Levels)
	if n, total, err := im.ReadAnswer(make([]byte, 64<<10), top, 0, 1, 0); err != nil || n == 0 || int64(n) != total {
		t.Errorf("reading the top page after the file was removed: %d of %d bytes, %v", n, total, err)
	}
	if im.Disk() != d.Disk || im.Store() != OpenStore {
		t.Errorf("image of %+v in %q", im.Disk(), im.Store())
	}
}

func TestReloadChangesNothingWhenTheFileIsBad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "farm.yaml")
	write := func(s string) {
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := string(readTestFile(t, "world.yaml"))
	write(good)
	c, err := ReadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := New(Options{Name: "lab-a", Config: c, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, text := range map[string]string{"mistakes": "farm: {", "another farm's": strings.ReplaceAll(good, "lab-a", "lab-x")} {
		write(text)
		if err := f.Reload(); err == nil || f.Config() != c {
			t.Errorf("%s: error %v, config changed %v", name, err, f.Config() != c)
		}
	}
	write(good + "# more\n")
	if err := f.Reload(); err != nil || f.Config().Hash == c.Hash {
		t.Errorf("a good file: error %v, hash changed %v", err, f.Config().Hash != c.Hash)
	}
}

func TestServiceTypesSurviveJSON(t *testing.T) {
	in := TargetInfo{Device: "pc-01", MAC: MAC{2, 0, 0, 0, 0, 7}, Content: Content{Digest{1}, 9}, Since: time.Second}
	raw, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out TargetInfo
	if err := json.Unmarshal(raw, &out); err != nil || out != in {
		t.Errorf("%+v became %+v (%s), %v", in, out, raw, err)
	}
}
