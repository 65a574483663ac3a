package netboot

import (
	"slices"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// index has the aliases of modules by the bus that stands before their first colon. There are thousands of aliases and dozens of
// devices; comparing each with each would take a second of the boot of an emulated machine.
type index map[string][]modules.Alias

// bus is what stands before the first colon, or nothing where that is not plain text: such a pattern is compared with all.
func bus(s string) string {
	name, _, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsAny(name, "*?[\\") {
		return ""
	}
	return name
}

func newIndex(all []modules.Alias) index {
	x := index{}
	for _, a := range all {
		b := bus(a.Pattern)
		x[b] = append(x[b], a)
	}
	return x
}

// match gives the modules for the device with this modalias.
func (x index) match(modalias string) (names []string) {
	groups := []string{""}
	if b := bus(modalias); b != "" {
		groups = append(groups, b)
	}
	for _, group := range groups {
		for _, a := range x[group] {
			if !slices.Contains(names, a.Name) && modules.Glob(a.Pattern, modalias) {
				names = append(names, a.Name)
			}
		}
	}
	return names
}
