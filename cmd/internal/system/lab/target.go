package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/spate-project/spate/cmd/internal/agent"
)

// Target is a spate-target that has a vDisk attached.
type Target struct {
	*Process
	Socket string // of NBD
	farm   *Farm
}

// LoginFlags are those by which a target finds the farm.
func (f *Farm) LoginFlags() []string {
	flags := []string{"--farm-key", f.Key, "--vdisk", f.VDisk}
	for _, a := range f.Addresses() {
		flags = append(flags, "--server", a)
	}
	return flags
}

// Environment is that of the programs of this farm: the status of its targets is told apart from that of the machine's.
func (f *Farm) Environment() []string {
	return []string{agent.FolderVariable + "=" + filepath.Join(f.Dir, "run")}
}

// Attach starts a target and waits until its vDisk is attached. The flags come in addition to those of the log-in.
func (f *Farm) Attach(ctx context.Context, name string, flags ...string) (*Target, error) {
	t := &Target{Socket: filepath.Join(f.Dir, name+".nbd"), farm: f}
	args := append([]string{filepath.Join(f.Bin, "spate-target"), "attach", "--nbd-socket", t.Socket}, f.LoginFlags()...)
	var err error
	t.Process, err = Spawn{Name: name, Args: append(args, flags...), Env: f.Environment(), Log: filepath.Join(f.Dir, name+".log")}.Start()
	if err != nil {
		return nil, err
	}
	if _, err := t.Await(ctx, "attached: "); err != nil {
		t.Kill()
		return nil, err
	}
	return t, nil
}

// URI is the vDisk as NBD programs take it.
func (t *Target) URI() string { return "nbd+unix:///?socket=" + t.Socket }

// Status asks spate-target how this target fares.
func (t *Target) Status(ctx context.Context) (s agent.Status, err error) {
	p, err := Spawn{Name: "status", Args: []string{filepath.Join(t.farm.Bin, "spate-target"), "status", "--json"}, Env: t.farm.Environment()}.Start()
	if err != nil {
		return s, err
	}
	if _, err := p.Wait(ctx); err != nil {
		p.Kill()
		return s, err
	}
	var all []agent.Status
	if err := json.Unmarshal([]byte(p.Out.String()), &all); err != nil {
		return s, fmt.Errorf("spate-target status: %w\n%s%s", err, p.Out, p.Log)
	}
	for _, s := range all {
		if s.PID == t.PID() {
			return s, nil
		}
	}
	return s, fmt.Errorf("spate-target status does not list process %d: %s", t.PID(), p.Out)
}
