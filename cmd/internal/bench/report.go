package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is one line of the result. Ratio is Spate's figure over the peer's, or over what Bound is about.
type row struct {
	Name     string  `json:"name"`
	Image    string  `json:"image"`
	Unit     string  `json:"unit"`
	Spate    float64 `json:"spate"`
	Peer     float64 `json:"peer"`
	PeerName string  `json:"peer_name"`
	Ratio    float64 `json:"ratio"`
	// Bound is what Ratio must be at least, or at most when AtMost; 0 when the row is for information.
	Bound  float64 `json:"bound"`
	AtMost bool    `json:"at_most"`
	OK     bool    `json:"ok"`
	// Spread is the distance between Spate's best and worst round over its median.
	Spread float64 `json:"spread"`
}

type report struct {
	out  io.Writer
	rows []row
}

func newReport(out io.Writer) *report { return &report{out: out} }

// add completes a row and prints it.
func (r *report) add(x row) {
	if x.Peer != 0 {
		x.Ratio = x.Spate / x.Peer
	}
	x.OK = x.Bound == 0 || (x.Ratio >= x.Bound) != x.AtMost || x.Ratio == x.Bound
	r.rows = append(r.rows, x)
	fmt.Fprintf(r.out, "%-38s %-7s %s\n", x.Name, x.Image, x.verdict())
}

func (x row) verdict() string {
	words := fmt.Sprintf("%.4g %s", x.Spate, x.Unit)
	if x.Peer != 0 {
		words += fmt.Sprintf(" against %.4g (%s): %.2f", x.Peer, x.PeerName, x.Ratio)
	}
	return words + x.bound()
}

func (x row) bound() string {
	switch {
	case x.Bound == 0:
		return ""
	case x.OK:
		return fmt.Sprintf("  ok, bound %.2f", x.Bound)
	default:
		return fmt.Sprintf("  MISSED, bound %.2f", x.Bound)
	}
}

func (r *report) good() bool {
	return !slices.ContainsFunc(r.rows, func(x row) bool { return !x.OK })
}

func (r *report) table() {
	fmt.Fprintln(r.out)
	w := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "what\timage\tunit\tSpate\tpeer\tits name\tratio\tbound\t\tspread")
	for _, x := range r.rows {
		peer, ratio, bound, ok := "-", "-", "-", ""
		if x.Peer != 0 {
			peer, ratio = fmt.Sprintf("%.4g", x.Peer), fmt.Sprintf("%.2f", x.Ratio)
		}
		if x.Bound != 0 {
			bound, ok = fmt.Sprintf("%s %.2f", map[bool]string{true: "<=", false: ">="}[x.AtMost], x.Bound), map[bool]string{true: "ok", false: "MISSED"}[x.OK]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.4g\t%s\t%s\t%s\t%s\t%s\t%.0f %%\n", x.Name, x.Image, x.Unit, x.Spate, peer, x.PeerName, ratio, bound, ok, 100*x.Spread)
	}
	w.Flush()
	fmt.Fprintf(r.out, "\nmachine: %s\n", machine())
}

// write puts the rows where other programs find them.
func (r *report) write(path string) error {
	b, err := json.MarshalIndent(map[string]any{"machine": machine(), "rows": r.rows}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

// machine names the processor and the kernel.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	return fmt.Sprintf("%s, %d cores, kernel %s, %s", model, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.Version())
}
