package farm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spate-project/spate/bootsvc"
	"github.com/spate-project/spate/vdisk"
)

// bootKinds are the boot files as package vdisk knows them.
var bootKinds = map[bootsvc.BootFile]vdisk.BootKind{bootsvc.Kernel: vdisk.BootKernel, bootsvc.Image: vdisk.BootImage}

// Open opens a boot file of a version, as this server's store has it. A replica with other content than the one that the
// farm serves under this number is not opened: machines would log in to something else than they were started with. The same
// holds for a machine whose script was made for another content, by a server that knows better or when it was another one.
func (d directory) Open(name string, number uint32, content string, file bootsvc.BootFile) (bootsvc.Content, error) {
	v, here := d.f.view(), d.f.o.Name
	title := fmt.Sprintf("%s version %d", name, number)
	disk, ok := v.vdisk(name)
	if !ok {
		return nil, Errorf(ErrorNotFound, "no vDisk is called %s in farm %s", name, v.config.Name)
	}
	holders := v.holders(disk)
	want, ok := reference(holders, number)
	if !ok {
		return nil, Errorf(ErrorNotFound, "no server holds vDisk %s; spate vdisk list shows what there is", title)
	}
	if content != "" && content != want.tag() {
		return nil, Errorf(ErrorConflict, "the boot script is for a vDisk %s with root %.4s…, and server %s knows it with root %.4s…; spate vdisk list shows which servers differ", title, content, here, want.tag())
	}
	elsewhere := "no other server that is alive has it"
	if others := holding(holders, want, here); len(others) > 0 {
		elsewhere = strings.Join(others, ", ") + " can give it"
	}
	i := slices.IndexFunc(d.f.o.Stores, func(s *vdisk.Store) bool { return s.Name() == disk.Store })
	if i < 0 {
		return nil, Errorf(ErrorUnavailable, "server %s does not have store %s with vDisk %s; %s", here, disk.Store, title, elsewhere)
	}
	version, err := d.f.o.Stores[i].AcquireID(vdisk.ID{Root: [32]byte(want.Root), Timestamp: want.Timestamp})
	if err != nil {
		return nil, Errorf(ErrorUnavailable, "server %s does not hold vDisk %s; %s", here, title, elsewhere)
	}
	opened, err := version.OpenBoot(bootKinds[file])
	version.Close() // an open file keeps what it needs
	switch {
	case errors.Is(err, vdisk.ErrNoBootFile):
		return nil, Errorf(ErrorNotFound, "vDisk %s carries no %s", title, fileWord(file))
	case err != nil:
		return nil, Errorf(ErrorUnavailable, "%v; %s", err, elsewhere)
	}
	return opened, nil
}

func fileWord(f bootsvc.BootFile) string {
	if f == bootsvc.Image {
		return "boot image"
	}
	return string(f)
}

// holding names the live servers besides one that hold a version.
func holding(holders []holder, want Replica, but string) []string {
	var all []string
	for _, h := range holders {
		if r := h.replicas[want.Number]; h.server != but && h.live && r.Problem == "" && r.Boot.Problem == "" && r.Content == want.Content {
			all = append(all, h.server)
		}
	}
	return all
}
