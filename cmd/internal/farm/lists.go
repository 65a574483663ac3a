package farm

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spate-project/spate/loadbalance"
	"github.com/spate-project/spate/stream/wire"
)

var _ Service = (*Farm)(nil)

// Servers lists the servers of the farm.
func (f *Farm) Servers(context.Context) (ServerList, error) {
	v := f.view()
	list := ServerList{Farm: v.config.Name, Answered: f.o.Name}
	for _, s := range v.servers() {
		p, _ := v.peer(s.Name)
		one := ServerInfo{
			Name: s.Name, Site: s.Site, Zone: s.Zone, Tier: s.Tier, State: stateWord(v.state(p)), Stream: s.Stream,
			Targets: p.report.Sessions, Assigned: p.assigned, QueueDelay: p.report.QueueDelay, Egress: p.report.Egress,
			Program: p.meta.Program, Heard: max(p.heard, 0),
		}
		one.Load = loadbalance.Server{
			Power: s.Power, Sessions: one.Targets, Assigned: one.Assigned, QueueDelay: one.QueueDelay, EgressBytes: one.Egress,
		}.Load()
		if p.heard >= 0 && !v.config.Open {
			one.Config, one.Differs = p.report.Config.String(), p.report.Config != v.config.Hash
		}
		list.Servers = append(list.Servers, one)
	}
	return list, nil
}

func stateWord(s loadbalance.State) string {
	switch s {
	case loadbalance.Serving:
		return string(StreamServing)
	case loadbalance.Leaving:
		return string(StreamLeaving)
	case loadbalance.Stopped:
		return string(StreamStopped)
	case loadbalance.Silent:
		return "silent"
	default:
		return "never heard"
	}
}

// VDisks lists the vDisks of the farm.
func (f *Farm) VDisks(context.Context) (VDiskList, error) {
	v := f.view()
	var list VDiskList
	for _, d := range v.vdisks() {
		holders := v.holders(d)
		offer := offered(holders)
		one := VDiskInfo{
			Name: d.Name, Store: d.Store, Offered: offer.Found, Version: offer.Number, Root: offer.Content.Root,
			Pending: offer.Pending, Why: "no live server holds any version of it",
		}
		if offer.Found {
			r, _ := reference(holders, offer.Number)
			one.Why, one.Size, one.Stored = offer.why(), r.Size, r.Stored
		}
		for _, n := range numbers(holders) {
			want, known := reference(holders, n)
			for _, h := range holders {
				r, ok := h.replicas[n]
				if !ok {
					continue
				}
				state := "identical"
				if s := h.compare(n, want); !known || s != loadbalance.Identical {
					state = lacks(s, r)
				}
				one.Copies = append(one.Copies, ReplicaInfo{h.server, n, r.Root, state, r.Fenced, r.Boot.Problem, h.live})
			}
		}
		list.VDisks = append(list.VDisks, one)
	}
	return list, nil
}

// askWithin is how long another server may take for a list.
const askWithin = 2 * time.Second

// Targets lists the targets of all live servers.
func (f *Farm) Targets(ctx context.Context) (TargetList, error) {
	within, stop := context.WithTimeout(ctx, askWithin)
	defer stop()
	list := TargetList{Targets: f.localTargets()}
	var (
		mu    sync.Mutex // guards list
		calls sync.WaitGroup
	)
	for _, p := range f.peers.peers() {
		if p.name == f.o.Name || !p.alive {
			continue
		}
		calls.Go(func() { // waited for below; ends with within
			var there []TargetInfo
			err := f.peers.Call(within, p.name, methodTargets, nil, func(b json.RawMessage) error { return json.Unmarshal(b, &there) })
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				list.Missing = append(list.Missing, p.name)
				return
			}
			list.Targets = append(list.Targets, there...)
		})
	}
	calls.Wait()
	f.addFirmware(ctx, list)
	slices.Sort(list.Missing)
	slices.SortFunc(list.Targets, func(a, b TargetInfo) int {
		return cmp.Or(strings.Compare(a.Server, b.Server), strings.Compare(a.Device, b.Device), slices.Compare(a.MAC[:], b.MAC[:]))
	})
	return list, nil
}

// localTargets lists the targets of this server.
func (f *Farm) localTargets() []TargetInfo {
	s := f.streams.Load()
	if s == nil {
		return nil
	}
	config := f.Config()
	all := []TargetInfo{}
	for _, one := range (*s).Sessions() {
		if !one.Confirmed {
			continue
		}
		t := TargetInfo{
			Device: MAC(one.MAC).String(), MAC: one.MAC, Label: one.Label, Collection: config.Unknown, Server: f.o.Name, Addr: one.Addr,
			VDisk: one.Disk.Name, Version: one.Disk.Number, Content: Content{one.Disk.Content.Root, one.Disk.Content.Timestamp}, Since: one.Since, Sent: one.Sent,
			Lost: one.Status.Lost, Late: one.Status.Late, Busy: one.Status.Busy, Packet: one.Packet, Failovers: one.Status.Failovers,
			Pause: time.Duration(one.Status.LongestPauseMS) * time.Millisecond, RTT: time.Duration(one.Status.RTT) * time.Microsecond,
			Resumed: one.Resumed, Uptime: one.Uptime, Boot: bootTimesOf(one.Status.Boot),
		}
		if d := config.Device(one.MAC); d != nil {
			t.Device, t.Collection = d.Name, d.Collection
		}
		all = append(all, t)
	}
	return all
}

// Explain says which server would serve a device now, and why.
func (f *Farm) Explain(ctx context.Context, device string) (Explanation, error) {
	v := f.view()
	targets, err := f.Targets(ctx)
	if err != nil {
		return Explanation{}, err
	}
	i := slices.IndexFunc(targets.Targets, func(t TargetInfo) bool {
		return t.Device == device || t.MAC.String() == device || t.Label == device
	})
	a := ask{}
	switch mac, err := ParseMAC(device); {
	case i >= 0:
		t := targets.Targets[i]
		a.mac, a.addr, a.current = t.MAC, t.Addr.Addr(), t.Server
	case err == nil:
		a.mac = mac
	default:
		d := slices.IndexFunc(v.config.Devices, func(d Device) bool { return d.Name == device })
		if d < 0 {
			return Explanation{}, Errorf(ErrorNotFound, "no device is called %q, and it is no MAC address; no target of that name is served", device)
		}
		a.mac = v.config.Devices[d].MAC
	}
	if d := v.config.Device(a.mac); d != nil && d.Key != nil {
		a.key = *d.Key // as if the device proved to be itself
	}
	if v.config.Open && i >= 0 {
		a.vdisk = Wanted{Name: targets.Targets[i].VDisk}
	}
	e := v.explain(a)
	if v.config.Boot != nil || f.o.Boot.IsValid() {
		e.Boot, e.BootMissing = f.bootViews(ctx, a.mac)
	}
	return e, nil
}

// explain is a decision in words.
func (v view) explain(a ask) Explanation {
	o := v.decide(a)
	e := Explanation{
		Device: o.device.Name, MAC: a.mac, Collection: o.collection.Name, Login: o.collection.Login, Why: o.why, Serving: a.current,
	}
	if o.version.VDisk != "" {
		e.VDisk = o.label()
	}
	if o.result != wire.ResultAccept {
		e.Refusal = o.sentence
	}
	for _, x := range o.choice.Verdicts {
		e.Servers = append(e.Servers, ServerVerdict{x.Server, x.Rank, x.Reason, x.Load})
	}
	return e
}
