package worker

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spate-project/spate/cmd/internal/blockdev"
	"github.com/spate-project/spate/cmd/internal/keeper"
	"github.com/spate-project/spate/cmd/internal/remote"
	"github.com/spate-project/spate/stream/wire"
)

// Memory that is left for everything else on a machine, whatever the command line says, as a divisor of all of it.
const leaveAlone = 10

// cacheSize is the size of the write cache in bytes: what the command line says, or a part of the memory; no more than can be.
func cacheSize(bytes int64, percent int, total int64) int64 {
	if bytes <= 0 {
		bytes = total / 100 * int64(percent)
	}
	return max(min(bytes, total-total/leaveAlone), blockdev.CacheBlock)
}

// caches are the caches of verified chunks on a machine with so much memory: a small one must not be filled by them.
func caches(total int64) remote.Options {
	const mib = 1 << 20
	return remote.Options{
		CacheBytes:   min(max(total/16, 8*mib), 64*mib),
		DecodedBytes: min(max(total/32, 4*mib), 48*mib),
		IndexBytes:   min(max(total/64, 2*mib), 16*mib),
		FlightBytes:  min(max(total/32, 8*mib), 32*mib),
	}
}

// noMemory is assumed where the kernel does not say how much there is.
const noMemory = 512 << 20

// memTotal is the memory of the machine in bytes.
func memTotal() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return noMemory
	}
	defer f.Close()
	return parseMemory(f)
}

func parseMemory(r io.Reader) int64 {
	for s := bufio.NewScanner(r); s.Scan(); {
		words := strings.Fields(s.Text())
		if len(words) == 3 && words[0] == "MemTotal:" {
			if n, err := strconv.ParseInt(words[1], 10, 64); err == nil && n > 0 && n < 1<<50 {
				return n << 10
			}
		}
	}
	return noMemory
}

// below names the content under the write cache.
func below(d wire.Disk) (id blockdev.Identity) {
	n := copy(id[:], d.Content.Root[:])
	binary.BigEndian.PutUint64(id[n:], uint64(d.Content.Timestamp))
	return id
}

// booted tells whether a disk is of the version that the kernel of this machine came out of. Two servers that cannot hear one
// another may hold different disks under one number, and modules must be those of the kernel that runs.
func booted(content string, d wire.Disk) error {
	if root := hex.EncodeToString(d.Content.Root[:]); !strings.HasPrefix(root, content) {
		return fmt.Errorf("the server serves another %s@%d (root %s…) than the one that this kernel came out of (%s…): spate vdisk list on each server shows which is right; then switch this machine off and on",
			d.Name, d.Number, root[:len(content)], content)
	}
	return nil
}

// errOtherContent says that the disk that a machine runs from is not served any more.
var errOtherContent = errors.New("the servers serve another content than this machine runs from")

// lasting tells whether what went wrong with a disk stays wrong whoever tries again. All else, memory that cannot be had just
// now or a program that does not know the format of the cache, is a reason for another worker and not for errors of the disk.
func lasting(err error) bool {
	return errors.Is(err, errOtherContent) || errors.Is(err, blockdev.ErrDamaged) || errors.Is(err, blockdev.ErrOtherDisk)
}

func deviceOf(index uint32) string { return fmt.Sprintf("/dev/nbd%d", index) }

// note puts a stage into the times that servers are told, and says whether that changed them. A stage is reached once.
func note(t *wire.BootTimes, e keeper.Event) bool {
	field := map[keeper.Stage]*uint32{
		keeper.InitRuns: &t.ModulesMS, keeper.NetworkUp: &t.NetworkMS, keeper.LoggedIn: &t.LogInMS,
		keeper.Attached: &t.AttachedMS, keeper.RootMounted: &t.RootMS, keeper.SystemRuns: &t.InitMS,
	}[e.Stage]
	if e.Kind != keeper.Reached || field == nil || *field != 0 {
		return false
	}
	*field = uint32(max(e.At/time.Millisecond, 1))
	return true
}

func noticeKind(n blockdev.Notice) keeper.Kind {
	if n.Full {
		return keeper.Problem
	}
	return keeper.Line
}

// noticeText is what the write cache has to say.
func noticeText(n blockdev.Notice) string {
	if n.Full {
		return fmt.Sprintf("write cache is full (%d MiB): writes wait until files are deleted and fstrim tells us; if these wait too, only a reset helps, with a larger write_cache (collection) or spate.write-cache=", n.Max>>20)
	}
	return fmt.Sprintf("write cache has room again: %d of %d MiB used", n.Used>>20, n.Max>>20)
}
