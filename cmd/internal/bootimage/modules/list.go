package modules

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// File is where the list lies in a boot image.
const File = "/etc/spate/modules"

// Bounds of a list. All modules of a distribution's kernel are some 4,000 with 40,000 aliases.
const (
	maxModules = 20_000
	maxAliases = 500_000
	maxLine    = 16 << 10
)

// List is what a boot image has of modules. It is not changed after it was made, and may be read by many at the same time.
type List struct {
	Kernel string
	// First says that the list is that of the first part of a boot image; that of the second has all.
	First   bool
	Modules []Module
	Base    []string
	// FileSystems are those that the kernel can mount with these modules, built in ones too. Order loads one by its name.
	FileSystems []string
	Aliases     []Alias

	byName map[string]int // index into Modules
}

// Module is one module and what must be loaded before it.
type Module struct {
	Name string
	// Path is absolute, inside the image.
	Path string
	// Needs are loaded first, in this order, and Later afterwards.
	Needs []Need
	Later []string
}

// Need is a module that another one needs. Soft says that the other one can do without.
type Need struct {
	Name string
	Soft bool
}

// Alias says that devices whose modalias matches Pattern are driven by the module Name.
type Alias struct{ Pattern, Name string }

// Step is one module to load. When it is Soft its failure does not matter.
type Step struct {
	Name, Path string
	Soft       bool
}

// Name writes the name of a module as the kernel does.
func Name(s string) string { return strings.ReplaceAll(s, "-", "_") }

// Lookup finds a module by its name, with hyphens or underscores.
func (l *List) Lookup(name string) (Module, bool) {
	if l.byName == nil {
		i := slices.IndexFunc(l.Modules, func(m Module) bool { return m.Name == Name(name) })
		if i < 0 {
			return Module{}, false
		}
		return l.Modules[i], true
	}
	i, ok := l.byName[Name(name)]
	if !ok {
		return Module{}, false
	}
	return l.Modules[i], true
}

// Match gives the modules for the device with this modalias, in the order of the list.
func (l *List) Match(modalias string) []string {
	var names []string
	modalias = strings.TrimSpace(modalias)
	for _, a := range l.Aliases {
		if !slices.Contains(names, a.Name) && Glob(a.Pattern, modalias) {
			names = append(names, a.Name)
		}
	}
	return names
}

// Resolve gives the modules that are meant by a name as modprobe takes it: that of a module, or an alias.
func (l *List) Resolve(name string) []string {
	if m, ok := l.Lookup(name); ok {
		return []string{m.Name}
	}
	return l.Match(name)
}

// Order gives what to load for these modules: each with what it needs before it and what belongs to it after it, each once.
// Names that the list does not have are left out: they are built in, or the image was made without them.
func (l *List) Order(names ...string) []Step {
	var steps []Step
	at := map[string]int{}
	add := func(name string, soft bool) {
		if i, ok := at[name]; ok {
			steps[i].Soft = steps[i].Soft && soft
			return
		}
		if m, ok := l.Lookup(name); ok {
			at[name] = len(steps)
			steps = append(steps, Step{m.Name, m.Path, soft})
		}
	}
	seen := map[string]bool{}
	var load func(name string, soft bool)
	load = func(name string, soft bool) {
		m, ok := l.Lookup(name)
		if !ok {
			return
		}
		for _, n := range m.Needs {
			add(n.Name, n.Soft || soft)
		}
		add(m.Name, soft)
		if seen[m.Name] {
			return
		}
		seen[m.Name] = true
		for _, other := range m.Later {
			load(other, true)
		}
	}
	for _, name := range names {
		load(Name(name), false)
	}
	return steps
}

var errList = errors.New("not a list of modules")

// Write writes the list as Parse reads it.
func (l *List) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "kernel %s\n", l.Kernel)
	if l.First {
		fmt.Fprintln(b, "part first")
	}
	for _, m := range l.Modules {
		fmt.Fprintf(b, "module %s %s", m.Name, m.Path)
		for _, n := range m.Needs {
			mark := ""
			if n.Soft {
				mark = "?"
			}
			fmt.Fprintf(b, " %s%s", mark, n.Name)
		}
		fmt.Fprintln(b)
		for _, o := range m.Later {
			fmt.Fprintf(b, "later %s %s\n", m.Name, o)
		}
	}
	for _, n := range l.Base {
		fmt.Fprintf(b, "base %s\n", n)
	}
	for _, n := range l.FileSystems {
		fmt.Fprintf(b, "fs %s\n", n)
	}
	for _, a := range l.Aliases {
		fmt.Fprintf(b, "alias %s %s\n", a.Pattern, a.Name)
	}
	return b.Flush()
}

// Parse reads a list. Errors wrap errList's sentence with the number of the line.
func Parse(r io.Reader) (*List, error) {
	l := &List{byName: map[string]int{}}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	for n := 1; lines.Scan(); n++ {
		if err := l.take(strings.Fields(lines.Text())); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errList, err)
	}
	if l.Kernel == "" {
		return nil, fmt.Errorf("%w: it names no kernel", errList)
	}
	return l, nil
}

// take takes the words of one line.
func (l *List) take(words []string) error {
	if len(words) == 0 {
		return nil
	}
	least := map[string]int{"kernel": 2, "part": 2, "module": 3, "later": 3, "base": 2, "fs": 2, "alias": 3}[words[0]]
	if len(words) < least {
		return fmt.Errorf("%w: %.80q is too short", errList, words)
	}
	switch words[0] {
	case "kernel":
		l.Kernel = words[1]
	case "part":
		l.First = words[1] == "first"
	case "module":
		return l.takeModule(words[1:])
	case "later":
		i, ok := l.byName[words[1]]
		if !ok {
			return fmt.Errorf("%w: no module %.80q before this", errList, words[1])
		}
		l.Modules[i].Later = append(l.Modules[i].Later, words[2])
	case "base":
		return l.name(&l.Base, words[1])
	case "fs":
		return l.name(&l.FileSystems, words[1])
	case "alias":
		if len(l.Aliases) == maxAliases {
			return fmt.Errorf("%w: more than %d aliases", errList, maxAliases)
		}
		l.Aliases = append(l.Aliases, Alias{words[1], words[2]})
	}
	return nil
}

func (l *List) name(to *[]string, name string) error {
	if len(*to) == maxModules {
		return fmt.Errorf("%w: more than %d modules", errList, maxModules)
	}
	*to = append(*to, name)
	return nil
}

func (l *List) takeModule(words []string) error {
	m := Module{Name: words[0], Path: words[1]}
	switch _, twice := l.byName[m.Name]; {
	case twice:
		return fmt.Errorf("%w: module %.80q twice", errList, m.Name)
	case !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path:
		return fmt.Errorf("%w: %.80q is not an absolute path", errList, m.Path)
	case len(l.Modules) == maxModules:
		return fmt.Errorf("%w: more than %d modules", errList, maxModules)
	}
	for _, w := range words[2:] {
		name, soft := strings.CutPrefix(w, "?")
		m.Needs = append(m.Needs, Need{name, soft})
	}
	l.byName[m.Name] = len(l.Modules)
	l.Modules = append(l.Modules, m)
	return nil
}
