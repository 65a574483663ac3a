package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/bootsvc/dhcp"
	"github.com/spate-project/spate/cmd/internal/farm"
)

const bootFarm = `farm: x
key_file: /k
boot: {dhcp: server, subnets: [{network: 192.0.2.0/24, pool: 192.0.2.100-192.0.2.110}]}
servers:
  - {name: a, stream: 192.0.2.1, boot: {}}
  - {name: b, stream: 192.0.2.2}
  - {name: c, stream: 192.0.2.3, boot: {interface: eno1}}
stores: [{name: s, path: /s, servers: [a]}]
`

func planOf(t *testing.T, file, server string) *bootPlan {
	t.Helper()
	c, err := farm.ParseConfig("farm.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return planBoot(c, server)
}

// Servers share the pools by their place among those that run boot services.
func TestEachServerHasItsShareOfThePools(t *testing.T) {
	got := ""
	for _, name := range []string{"a", "b", "c"} {
		if p := planOf(t, bootFarm, name); p != nil {
			got += fmt.Sprint(name, p.share, p.addr(), p.card, " ")
			if !p.routers {
				t.Errorf("machines of %s wait for routers", name)
			}
		}
	}
	if want := "a{0 2} 192.0.2.1:6980 c{1 2} 192.0.2.3:6980eno1 "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// An administrator who changes the farm file of a running server is told what does not count yet.
func TestSettingsThatNeedARestartAreNamed(t *testing.T) {
	before := planOf(t, bootFarm, "c")
	for _, c := range []struct {
		old, new string
		want     []string
	}{
		{"farm: x", "farm: y", nil},
		{"dhcp: server, subnets: [{network: 192.0.2.0/24, pool: 192.0.2.100-192.0.2.110}]", "dhcp: proxy", []string{"boot.dhcp", "boot.subnets"}},
		{"dhcp: server, subnets: [{network: 192.0.2.0/24, pool: 192.0.2.100-192.0.2.110}]", "dhcp: off", []string{"boot.dhcp", "boot.router_advertisement", "boot.subnets"}},
		{"{dhcp", "{router_advertisement: off, dhcp", []string{"boot.router_advertisement"}},
		{"192.0.2.110", "192.0.2.120", []string{"boot.subnets"}},
		{"{dhcp", "{http: 8080, tftp: off, dhcp", []string{"boot.http", "boot.tftp"}},
		{"eno1", "eno2", []string{"servers[].boot.interface"}},
		{"192.0.2.3", "192.0.2.4", []string{"servers[].boot.address"}},
		{"192.0.2.2}", "192.0.2.2, boot: {}}", []string{"the number or order of servers with boot"}},
		{", boot: {interface: eno1}", "", []string{"boot"}},
	} {
		if got := before.restarts(planOf(t, strings.Replace(bootFarm, c.old, c.new, 1), "c")); !slices.Equal(got, c.want) {
			t.Errorf("%s in place of %s: %q, want %q", c.new, c.old, got, c.want)
		}
	}
	if got := (*bootPlan)(nil).restarts(nil); got != nil {
		t.Errorf("a server without boot services: %q", got)
	}
}

// What the system says no to is told with what to do about it.
func TestABootServiceThatCannotStartSaysWhatToDo(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	if card, err := cardOf(loopback, ""); err != nil || card != "lo" {
		t.Errorf("%q, %v", card, err)
	}
	_, wrong := cardOf(loopback, "eno1")
	_, none := cardOf(netip.MustParseAddr("192.0.2.77"), "")
	_, taken := opened[runner](nil, fmt.Errorf("TFTP: %w", syscall.EADDRINUSE), "stop the other one")
	_, denied := opened[runner](nil, fmt.Errorf("TFTP: %w", syscall.EACCES), "")
	for want, err := range map[string]error{
		"127.0.0.1 is the address of lo, not of eno1":                  wrong,
		"192.0.2.77 is no address of this machine, whose cards are lo": none,
		"stop the other one":                            taken,
		"run spated as root":                            denied,
		"machines cannot reach 127.0.0.1; add --listen": second(planOpenBoot("http", netip.MustParseAddrPort("127.0.0.1:6910"))),
		"write http, or proxy":                          second(planOpenBoot("dhcp", netip.MustParseAddrPort("127.0.0.1:6910"))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if !errors.Is(taken, syscall.EADDRINUSE) {
		t.Errorf("%v hides its cause", taken)
	}
}

// failing is a service that does not run.
type failing struct{}

// Run fails.
func (failing) Run(context.Context) error { return dhcp.ErrConflict }

// An administrator who asks why a machine gets no address is told that nothing here gives any.
func TestAServiceThatDoesNotRunIsToldToTheFarm(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var told []bootsvc.Event
	b := &boot{settle: func(context.Context) {}, note: func(e bootsvc.Event) { told = append(told, e); cancel() }, log: zap.NewNop()}
	part := &bootPart{name: "DHCP server", now: failing{}}
	if err := b.run(ctx, part); err != nil {
		t.Error(err)
	}
	if len(told) != 1 || !told[0].Problem || told[0].MAC != (bootsvc.MAC{}) || !strings.Contains(told[0].Text, "DHCP server does not run here: another DHCP server answers") {
		t.Errorf("%+v", told)
	}
}

// Machines boot without an advertisement, only slower: one that cannot be sent is no error, and is said once.
func TestAServiceThatMachinesCanDoWithoutComplainsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		b := &boot{settle: func(context.Context) {}, note: func(e bootsvc.Event) { t.Errorf("told: %+v", e) }, log: zap.New(core)}
		opened := 0
		part := &bootPart{name: "router advertisement", spare: true, open: func() (runner, error) { opened++; return nil, syscall.EPERM }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*bootAgain+1)
		defer cancel()
		if err := b.run(ctx, part); err != nil {
			t.Error(err)
		}
		if all := logs.All(); opened != 11 || len(all) != 1 || all[0].Level != zap.WarnLevel {
			t.Errorf("opened %d times, said %+v", opened, all)
		}
	})
}

func second(_ *bootPlan, err error) error { return err }

// A loader is asked for before the machine has said who it is: its address tells.
func TestAMachineIsKnownByItsAddress(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
192.0.2.10       0x1         0x2         52:54:00:00:00:10     *        eth0
192.0.2.100      0x1         0x2         52:54:00:00:01:00     *        eth0
192.0.2.101      0x1         0x0         00:00:00:00:00:00     *        eth0
192.0.2.102      0x20        0x2         80:00:00:48:fe:80:00:00:00:00:00:00:00:02:c9:03:00:0f:72:69 * ib0
192.0.2.103
`
	for a, want := range map[string]string{"192.0.2.10": "52:54:00:00:00:10", "192.0.2.100": "52:54:00:00:01:00", "192.0.2.1": "", "192.0.2.101": "", "192.0.2.102": "", "192.0.2.103": ""} {
		m, ok := findNeighbour(strings.NewReader(table), netip.MustParseAddr(a))
		if ok != (want != "") || ok && m.String() != want {
			t.Errorf("%s: %v, %v, want %q", a, m, ok, want)
		}
	}
}
