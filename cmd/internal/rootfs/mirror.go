package rootfs

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// ownSources gives the lines of this machine's apt that bring a suite, its updates and its security fixes; none when apt is
// set up for another one. Sources of others than the suite are left out.
func ownSources(aptDir, suite string) (lines []string) {
	files, _ := filepath.Glob(filepath.Join(aptDir, "sources.list.d", "*")) // its pattern is good
	for _, file := range append([]string{filepath.Join(aptDir, "sources.list")}, files...) {
		text, err := readConfig(file)
		if err != nil {
			continue
		}
		var found []source
		switch filepath.Ext(file) {
		case ".list":
			found = oneLine(text)
		case ".sources":
			found = stanzas(text)
		}
		for _, s := range found {
			line := fmt.Sprintf("deb %s %s %s", s.uri, s.suite, strings.Join(s.components, " "))
			if s.brings(suite) && !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.Fields(l)[2] == suite }) {
		return nil // updates alone make no system
	}
	return lines
}

// source is a place of packages.
type source struct {
	uri, suite string
	components []string
}

// brings tells whether it belongs to a suite, and can be reached from inside a root folder.
func (s source) brings(suite string) bool {
	rest, ok := strings.CutPrefix(s.suite, suite)
	return ok && slices.Contains([]string{"", "-updates", "-security"}, rest) && slices.Contains(s.components, "main") &&
		(strings.HasPrefix(s.uri, "http://") || strings.HasPrefix(s.uri, "https://"))
}

// oneLine reads the format of one source a line: deb [options] URI suite component…
func oneLine(text string) (all []source) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		if rest = strings.TrimSpace(rest); strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if w := strings.Fields(rest); len(w) > 2 {
			all = append(all, source{w[0], w[1], w[2:]})
		}
	}
	return all
}

// stanzas reads the format of fields (deb822), of which each stanza can mean several sources.
func stanzas(text string) (all []source) {
	for stanza := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		fields, last := map[string][]string{}, ""
		for line := range strings.Lines(stanza) {
			switch name, value, ok := strings.Cut(line, ":"); {
			case strings.HasPrefix(line, "#"):
			case line[0] == ' ' || line[0] == '\t':
				fields[last] = append(fields[last], strings.Fields(line)...)
			case ok:
				last = strings.ToLower(name)
				fields[last] = strings.Fields(value)
			}
		}
		if !slices.Contains(fields["types"], "deb") || slices.Equal(fields["enabled"], []string{"no"}) {
			continue
		}
		for _, uri := range fields["uris"] {
			for _, suite := range fields["suites"] {
				all = append(all, source{uri, suite, fields["components"]})
			}
		}
	}
	return all
}
