package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spate-project/spate/vdisk"
	"github.com/spf13/cobra"
)

const timeLayout = "2006-01-02 15:04:05.000000000 UTC"

func timestampText(ns int64) string { return time.Unix(0, ns).UTC().Format(timeLayout) }

func newVerifyCommand() *cobra.Command {
	var (
		dir    string
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "verify [NAME[@VERSION]]... --store DIR | verify FILE...",
		Short: "Read versions whole and check every byte",
		Long: `Read versions whole: header and seal, every index page and every chunk against the root, the disk's bytes
against their hash, and what the version is booted with. Without a name, every version in the store. Everything that is wrong is listed.

Exit codes: 0 all sound, 1 could not be verified, 2 wrong usage, 3 damage was found.`,
		Example: `  spate vdisk verify --store /srv/vdisks
  spate vdisk verify debian12@3 --store /srv/vdisks`,
		ValidArgsFunction: completeStored,
		RunE: func(c *cobra.Command, args []string) error {
			paths, err := filesOf(dir, args)
			if err != nil {
				return err
			}
			return runVerify(c, paths, asJSON)
		},
	}
	storeFlag(c, &dir)
	jsonFlag(c, &asJSON)
	return c
}

// filesOf finds the files that arguments mean; without arguments all versions of a store.
func filesOf(dir string, args []string) ([]string, error) {
	var paths []string
	for _, a := range args {
		path, err := fileOf(dir, a)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	if len(args) > 0 {
		return paths, nil
	}
	if dir == "" {
		return nil, usageError("name a file, or a store with --store DIR")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, _, err := vdisk.ParseFileName(e.Name()); err == nil {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s holds no vDisk", dir)
	}
	return paths, nil
}

// verdictJSON is the outcome of one verification.
type verdictJSON struct {
	Path       string       `json:"path"`
	Name       string       `json:"name,omitempty"`
	Version    uint32       `json:"version"`
	Sound      bool         `json:"sound"`
	Root       string       `json:"root,omitempty"`
	Bytes      int64        `json:"bytes"`
	Boot       int64        `json:"boot_bytes,omitempty"`
	Complaints int          `json:"complaints"`
	Damage     []damageJSON `json:"damage,omitempty"`
	Error      string       `json:"error,omitempty"`
	Seconds    float64      `json:"seconds"`

	advice []string // what to do about the damage, each thing once
}

func runVerify(c *cobra.Command, paths []string, asJSON bool) error {
	verdicts := []verdictJSON{}
	damaged, failed, strangers := 0, 0, 0
	for _, path := range paths {
		v, err := verifyOne(c, path)
		if errors.Is(err, context.Canceled) {
			return errors.New("interrupted")
		}
		verdicts = append(verdicts, v)
		switch {
		case errors.Is(err, vdisk.ErrNotVDisk):
			strangers++
		case err != nil:
			failed++
		case !v.Sound:
			damaged++
		}
		if !asJSON {
			printVerdict(c, &v)
		}
	}
	if asJSON {
		if err := printJSON(c.OutOrStdout(), verdicts); err != nil {
			return err
		}
	}
	switch {
	case damaged > 0:
		return &exitError{exitDamaged, fmt.Errorf("%d of %d versions are damaged", damaged, len(paths))}
	case failed > 0:
		return fmt.Errorf("%d of %d versions could not be verified", failed, len(paths))
	case strangers > 0 && len(paths) == 1:
		return errors.New("there is nothing to verify: the file is no vDisk")
	case strangers > 0:
		return fmt.Errorf("%d of %d files are no vDisks, nothing of them was verified", strangers, len(paths))
	}
	return nil
}

// verifyOne verifies a file. Damage is in the verdict; the error is for what kept it from being verified. A file that
// is no vDisk is damaged only if its name says that it should be one.
func verifyOne(c *cobra.Command, path string) (verdictJSON, error) {
	out := verdictJSON{Path: path}
	began := time.Now()
	v, err := vdisk.Open(path)
	if err == nil {
		defer v.Close()
		out.Name, out.Version, out.Root = v.Name(), v.Number(), v.ID().Root.String()
		p := newProgress(c.ErrOrStderr())
		var r *vdisk.Report
		if r, err = v.Verify(c.Context(), vdisk.VerifyOptions{Progress: p.show}); err == nil {
			out.Sound, out.Bytes, out.Boot = r.Sound(), r.Bytes, r.Boot
			out.Complaints, out.Damage = r.Complaints, damagesJSON(r.Damage)
			for _, d := range r.Damage {
				if a := d.Remedy(v.Name(), v.Number(), path); !slices.Contains(out.advice, a) {
					out.advice = append(out.advice, a)
				}
			}
		}
		p.end()
	}
	out.Seconds = time.Since(began).Seconds()
	if err != nil {
		out.Error = err.Error()
		_, _, misnamed := vdisk.ParseFileName(filepath.Base(path))
		switch {
		case errors.Is(err, vdisk.ErrNotVDisk) && misnamed != nil:
			out.advice = []string{vdisk.Advice(err)}
		case errors.Is(err, vdisk.ErrNotVDisk):
			out.Complaints, out.advice = 1, []string{vdisk.Advice(vdisk.ErrDamaged)}
			return out, nil
		case errors.Is(err, vdisk.ErrDamaged), errors.Is(err, vdisk.ErrIncomplete):
			out.Complaints, out.advice = 1, []string{vdisk.Advice(err)}
			return out, nil
		}
	}
	return out, err
}

func printVerdict(c *cobra.Command, v *verdictJSON) {
	w := c.OutOrStdout()
	switch {
	case v.Error != "":
		fmt.Fprintln(w, v.Error)
		printAdvice(w, v.advice)
	case v.Sound:
		boot := ""
		if v.Boot > 0 {
			boot = fmt.Sprintf(" and %s to boot it with", vdisk.Bytes(v.Boot))
		}
		fmt.Fprintf(w, "%s version %d: sound, %s%s checked, root %s…, %.1f s\n", v.Name, v.Version, vdisk.Bytes(v.Bytes), boot, v.Root[:8], v.Seconds)
	default:
		fmt.Fprintf(w, "%s version %d: DAMAGED, %s, file %s\n", v.Name, v.Version, count(v.Complaints, "complaint"), v.Path)
		for _, d := range v.Damage {
			fmt.Fprintf(w, "  %s: %s\n", d.Part, d.Reason)
		}
		if more := v.Complaints - len(v.Damage); more > 0 {
			fmt.Fprintf(w, "  and %d more\n", more)
		}
		printAdvice(w, v.advice)
	}
}

func printAdvice(w io.Writer, all []string) {
	for _, a := range all {
		fmt.Fprintf(w, "  what to do: %s\n", a)
	}
}

func newAdoptCommand() *cobra.Command {
	var (
		dir, like string
		asJSON    bool
	)
	c := &cobra.Command{
		Use:   "adopt NAME[@VERSION] --store DIR [--like FILE]",
		Short: "Make a copy of a version identical to another one, or give it a new identity",
		Long: `Servers share targets only between identical copies of a version: same content, same timestamp. Adopting verifies
a copy whole, and then gives it the timestamp of the copy that --like names, if both have the same content, or
a new timestamp: then the copies of all other servers must be adopted like this one. Targets that use the copy now
carry on. With its own file for --like, a copy keeps its identity and gets a damaged seal or header written again.

Exit codes: 0 adopted, 1 failed, 2 wrong usage, 3 the copy is damaged and was left as it is.`,
		Example: `  spate vdisk adopt debian12@3 --store /srv/vdisks --like /mnt/lab-b/debian12.3.spate
  spate vdisk adopt debian12 --store /srv/vdisks`,
		Args:              exactArgs(1, "NAME[@VERSION]"),
		ValidArgsFunction: once(completeStored),
		RunE: func(c *cobra.Command, args []string) error {
			path, err := fileOf(dir, args[0])
			if err != nil {
				return err
			}
			return runAdopt(c, path, like, asJSON)
		},
	}
	storeFlag(c, &dir)
	c.Flags().StringVar(&like, "like", "", "file of the copy it shall be identical to")
	jsonFlag(c, &asJSON)
	return c
}

// identityLike gives the identity of the file like, if the version at path can be made identical to it.
func identityLike(path, like string) (vdisk.ID, error) {
	var both [2]vdisk.Facts
	for i, p := range []string{path, like} {
		v, err := vdisk.Open(p)
		if err != nil {
			return vdisk.ID{}, err
		}
		both[i] = v.Facts()
		v.Close()
	}
	own, peer := both[0], both[1]
	switch {
	case own.Name != peer.Name || own.Number != peer.Number:
		return vdisk.ID{}, fmt.Errorf("--like: %s is %s version %d, not %s version %d; name a copy of the same version",
			like, peer.Name, peer.Number, own.Name, own.Number)
	case own.Root != peer.Root && own.Logical == peer.Logical:
		return vdisk.ID{}, fmt.Errorf("%s holds the same disk as %s, stored differently (by another release, or with other options), "+
			"which cannot be made identical; copy %s itself beside it, and mv it over", path, like, like)
	case own.Root != peer.Root:
		return vdisk.ID{}, fmt.Errorf("%s holds another disk than %s (root %s and not %s), which cannot be made identical; "+
			"if %s is the right one, copy it beside the other, and mv it over", path, like, own.Root.Short(), peer.Root.Short(), like)
	}
	return peer.ID, nil
}

func runAdopt(c *cobra.Command, path, like string, asJSON bool) error {
	p := newProgress(c.ErrOrStderr())
	o := vdisk.AdoptOptions{Who: whoami(), Verify: vdisk.VerifyOptions{Progress: p.show}}
	if like != "" {
		var err error
		if o.Like, err = identityLike(path, like); err != nil {
			return err
		}
	}
	r, err := vdisk.Adopt(c.Context(), path, o)
	p.end()
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted, the copy is as it was")
	}
	if errors.Is(err, vdisk.ErrUnsound) {
		return &exitError{exitDamaged, err}
	}
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), struct {
			Path      string `json:"path"`
			Root      string `json:"root"`
			Timestamp int64  `json:"timestamp"`
		}{path, r.ID.Root.String(), r.ID.Timestamp})
	}
	fmt.Fprintf(c.OutOrStdout(), "adopted %s: root %s, timestamp %s\n", path, r.ID.Root.Short(), timestampText(r.ID.Timestamp))
	return nil
}
