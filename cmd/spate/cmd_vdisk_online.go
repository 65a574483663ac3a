package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/spate-project/spate/cmd/internal/farm"
	"github.com/spate-project/spate/vdisk"
)

// listOnline lists the vDisks of the farm.
func listOnline(c *cobra.Command, n *connection, asJSON bool) error {
	s, err := n.farm()
	if err != nil {
		return err
	}
	list, err := s.VDisks(c.Context())
	if err != nil {
		return report(err)
	}
	if asJSON {
		return printJSON(c.OutOrStdout(), list)
	}
	printVDisks(c.OutOrStdout(), list.VDisks)
	return nil
}

func printVDisks(w io.Writer, all []farm.VDiskInfo) {
	if len(all) == 0 {
		fmt.Fprintln(w, "the farm has no vDisks; spate vdisk import IMAGE --into DIR brings an image into a server's store")
		return
	}
	t := table{head: []string{"VDISK", "STORE", "VERSION", "DISK", "STORED", "ROOT", "SERVERS", "WHY THIS VERSION"}}
	for _, d := range all {
		if !d.Offered {
			t.add(d.Name, d.Store, "none", "", "", "", "", d.Why)
			continue
		}
		t.add(d.Name, d.Store, strconv.FormatUint(uint64(d.Version), 10), vdisk.Bytes(d.Size), vdisk.Bytes(d.Stored), d.Root.Short(),
			strings.Join(holders(d), ", "), d.Why)
	}
	t.write(w)
	for _, d := range all {
		for _, r := range d.Copies {
			if text := remark(d, r); text != "" {
				fmt.Fprintf(w, "\n%s version %d on %s: %s\n", d.Name, r.Version, r.Server, text)
			}
		}
	}
}

// holders names the live servers that hold the version that is offered.
func holders(d farm.VDiskInfo) []string {
	var names []string
	for _, r := range d.Copies {
		if r.Live && r.Version == d.Version && r.Root == d.Root && !slices.Contains(names, r.Server) && r.State == identical {
			names = append(names, r.Server)
		}
	}
	return names
}

// States of a copy: one that counts, and one that can be made so where it is.
const (
	identical      = "identical"
	otherTimestamp = "same content, other timestamp"
)

// remark says what is wrong with a copy, and what to do.
func remark(d farm.VDiskInfo, r farm.ReplicaInfo) string {
	var words []string
	source := "a server whose copy is sound"
	if i := slices.IndexFunc(d.Copies, func(o farm.ReplicaInfo) bool {
		return o.Live && o.Version == r.Version && o.Server != r.Server && o.State == identical && o.Fenced == 0 && o.BootProblem == ""
	}); i >= 0 {
		source = d.Copies[i].Server
	}
	if r.State != identical {
		words = append(words, r.State+"; it serves nobody until the file of "+source+" is copied there")
	}
	if r.State == otherTimestamp {
		words = append(words, fmt.Sprintf("or, there: spate vdisk adopt %s@%d --store DIR --like FILE, with a copy of that file", d.Name, r.Version))
	}
	if r.Fenced > 0 {
		words = append(words, fmt.Sprintf("%s damaged and taken from other servers; there: spate vdisk verify %s@%d --store DIR lists them; then copy the file of %s there",
			count(r.Fenced, "block"), d.Name, r.Version, source))
	}
	if r.BootProblem != "" {
		words = append(words, strings.TrimPrefix(r.BootProblem, fmt.Sprintf("%s version %d ", d.Name, r.Version))) // which stands before it
	}
	if len(words) > 0 && !r.Live {
		words = append(words, "as it last told; it is not alive now")
	}
	return strings.Join(words, "; ")
}
