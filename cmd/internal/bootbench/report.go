package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// sample is what one round of a chain measured. Times are in seconds.
type sample struct {
	Init      float64 // power-on to the root's init, unlimited cable
	SlowInit  float64 // the same at 100 Mbit/s
	System    float64 // /init to multi-user at 100 Mbit/s
	Megabytes float64 // on the cable meanwhile, both directions, Ethernet headers included
}

// String is a line for the person who waits.
func (s sample) String() string {
	return fmt.Sprintf("init after %.2f s; at 100 Mbit/s after %.2f s, /init to multi-user %.2f s, %.1f MB", s.Init, s.SlowInit, s.System, s.Megabytes)
}

// row is one line of the result.
type row struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Spate float64 `json:"spate"` // medians
	Peer  float64 `json:"peer"`
	// Local is what the same machine takes with a disk of its own, which no disk in the network can be faster than.
	Local float64 `json:"local"`
	Ratio float64 `json:"ratio"`
	Bound float64 `json:"bound"` // of Ratio, at most
	OK    bool    `json:"ok"`
	// Spread is the distance between Spate's best and worst round over its median; PeerSpread that of the peer.
	Spread     float64 `json:"spread"`
	PeerSpread float64 `json:"peer_spread"`
}

// figures are what is compared, and the bounds of the ratios.
var figures = []struct {
	name, unit string
	of         func(sample) float64
	bound      float64
}{
	{"power-on to the root's init", "s", func(s sample) float64 { return s.Init }, 1.2},
	{"power-on to the root's init, 100 Mbit/s", "s", func(s sample) float64 { return s.SlowInit }, 1.0},
	{"/init to multi-user, 100 Mbit/s", "s", func(s sample) float64 { return s.System }, 0.8},
	{"bytes from /init to multi-user", "MB", func(s sample) float64 { return s.Megabytes }, 0.5},
}

// compare compares the medians of both chains.
func compare(results map[string][]sample) (rows []row) {
	for _, f := range figures {
		r := row{Name: f.name, Unit: f.unit, Bound: f.bound}
		r.Spate, r.Spread = median(results[spateName], f.of)
		r.Peer, r.PeerSpread = median(results[peerName], f.of)
		r.Local, _ = median(results[localName], f.of)
		if r.Peer > 0 {
			r.Ratio = r.Spate / r.Peer
		}
		r.OK = r.Peer > 0 && r.Spate > 0 && r.Ratio <= r.Bound
		rows = append(rows, r)
	}
	return rows
}

// median also gives the spread: the distance between the extremes over the median.
func median(samples []sample, of func(sample) float64) (value, spread float64) {
	var list []float64
	for _, s := range samples {
		list = append(list, of(s))
	}
	if len(list) == 0 {
		return 0, 0
	}
	slices.Sort(list)
	value = (list[(len(list)-1)/2] + list[len(list)/2]) / 2
	return value, (list[len(list)-1] - list[0]) / value
}

func printRows(out io.Writer, rows []row) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\tunit\tSpate\tnbd\tratio\tbound\t\tspread\tits spread\town disk\tits ratio")
	for _, r := range rows {
		verdict := "ok"
		if !r.OK {
			verdict = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.0f%%\t%.0f%%\t%.2f\t%.2f\n", r.Name, r.Unit, r.Spate, r.Peer, r.Ratio, r.Bound, verdict, 100*r.Spread, 100*r.PeerSpread, r.Local, r.Local/max(r.Peer, 1e-9))
	}
	w.Flush()
}

func writeRows(path string, rows []row) error {
	text, err := json.MarshalIndent(rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
