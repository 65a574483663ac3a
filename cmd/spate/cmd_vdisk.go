package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/version"
	"github.com/spate-project/spate/vdisk"
)

// newVdiskCommand makes "spate vdisk" with everything below it.
func newVdiskCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "vdisk",
		Short: "Build, import, list, verify and adopt vDisks",
		Long: `A vDisk is a disk image under a name. Its states are numbered versions; version 0 is the base.
A version is one file NAME.NUMBER.spate in a folder, the store. It never changes once it is there.`,
	}
	return group(c, newImportCommand(), newVdiskBuildCommand(), newListCommand(), newInfoCommand(), newVerifyCommand(), newAdoptCommand())
}

// storeFlag adds --store.
func storeFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "store", "", "folder with vDisk files")
	_ = c.MarkFlagDirname("store")
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command, on *bool) {
	c.Flags().BoolVar(on, "json", false, "write JSON instead of text")
}

// printJSON writes v, indented, with a line end.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// vdiskName is NAME or NAME@VERSION on a command line.
type vdiskName struct {
	name   string
	number uint32
	newest bool
}

func parseVdiskName(arg string) (vdiskName, error) {
	name, number, has := strings.Cut(arg, "@")
	if err := vdisk.CheckName(name); err != nil {
		return vdiskName{}, usageError("%w", err)
	}
	if !has {
		return vdiskName{name: name, newest: true}, nil
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n > vdisk.MaxNumber {
		return vdiskName{}, usageError("%q: %q is not a version number; write NAME or NAME@VERSION", arg, number)
	}
	return vdiskName{name: name, number: uint32(n)}, nil
}

// pick finds the file of a version in a store. A bad file is found too: whoever asks will be told what is
// wrong with it.
func pick(dir, arg string) (string, error) {
	want, err := parseVdiskName(arg)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	found, best := "", uint32(0)
	var have []string
	for _, e := range entries {
		name, number, err := vdisk.ParseFileName(e.Name())
		if err != nil || name != want.name {
			continue
		}
		have = append(have, strconv.FormatUint(uint64(number), 10))
		if number == want.number && !want.newest || want.newest && number >= best {
			found, best = e.Name(), number
		}
	}
	switch {
	case found != "":
		return filepath.Join(dir, found), nil
	case len(have) > 0:
		return "", fmt.Errorf("%s has no version %d of %s; it has %s", dir, want.number, want.name, strings.Join(have, ", "))
	}
	return "", fmt.Errorf("%s has no vDisk %s; spate vdisk list --store %s shows what it has", dir, want.name, dir)
}

// versionJSON is a version as --json tells it.
type versionJSON struct {
	Name      string       `json:"name"`
	Version   uint32       `json:"version"`
	Path      string       `json:"path"`
	Size      int64        `json:"size"`
	Sector    uint32       `json:"sector_size"`
	Chunk     uint32       `json:"chunk_size"`
	Codec     string       `json:"codec"`
	Root      string       `json:"root"`
	Timestamp int64        `json:"timestamp"`
	Disk      string       `json:"disk_blake3"`
	File      int64        `json:"file_size"`
	Stored    int64        `json:"stored"`
	Zeros     int64        `json:"zero_bytes"`
	Sealed    *time.Time   `json:"sealed,omitempty"`
	Who       string       `json:"sealed_by,omitempty"`
	Program   string       `json:"program,omitempty"`
	Boot      *bootJSON    `json:"boot,omitempty"`
	Damage    []damageJSON `json:"damage,omitempty"`
}

type damageJSON struct {
	Part   string `json:"part"`
	Reason string `json:"reason"`
}

func summaryJSON(s *vdisk.Summary) versionJSON {
	return versionJSON{
		Name: s.Name, Version: s.Number, Path: s.Path, Size: s.Shape.Size, Sector: s.Shape.SectorSize, Chunk: s.Shape.ChunkSize,
		Codec: s.Codec.String(), Root: s.ID.Root.String(), Timestamp: s.ID.Timestamp, Disk: s.Logical.String(), File: s.File,
		Stored: s.Stored, Zeros: s.ZeroBytes, Boot: bootOf(&s.Boot),
	}
}

func infoJSON(i *vdisk.Info, damage []vdisk.Damage) versionJSON {
	v := summaryJSON(&i.Summary)
	when := i.When.UTC()
	v.Sealed, v.Who, v.Program, v.Damage = &when, i.Who, i.Program, damagesJSON(damage)
	return v
}

func damagesJSON(all []vdisk.Damage) []damageJSON {
	var out []damageJSON
	for _, d := range all {
		out = append(out, damageJSON{d.Part, d.Reason})
	}
	return out
}

// whoami names the person and the machine for a seal.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

// program names this program and its release for a seal.
func program() string {
	return "spate " + version.String()
}

// parseSize reads a number of bytes with an optional unit, less than 4 GiB: 65536, 64K, 64KiB, 1M.
func parseSize(s string) (uint32, error) {
	n, err := parseBytes(s)
	if err != nil || n > math.MaxUint32 {
		return 0, usageError("%q is not a size; write bytes, or with a unit: 16K, 64K, 1M", s)
	}
	return uint32(n), nil
}

// parseBytes reads a number of bytes with an optional unit, a power of 1024.
func parseBytes(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTkmgtiB")
	unit := strings.TrimSuffix(strings.TrimSuffix(strings.ToUpper(s[len(digits):]), "B"), "I")
	shift, known := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || n > math.MaxInt64>>shift {
		return 0, usageError("%q is not a size; write bytes, or with a unit: 512M, 8G, 1T", s)
	}
	return n << shift, nil
}
