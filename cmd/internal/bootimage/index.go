package bootimage

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spate-project/spate/cmd/internal/bootimage/modules"
)

// index knows the modules of one kernel by name.
type index struct {
	dir     string
	files   map[string]string // name -> path below dir, with slashes
	builtIn map[string]bool
	// builtInAliases are the devices that built in modules drive, where the kernel says so.
	builtInAliases map[string][]string
	// aliases are all that the kernel has, from modules.alias; where that is missing, those of the folders in aliasFolders.
	aliases []modules.Alias
	read    bool
}

// aliasFolders hold the modules that others name by an alias: algorithms.
var aliasFolders = []string{"kernel/crypto/", "kernel/arch/", "kernel/lib/"}

// newIndex reads which modules are in dir.
func newIndex(dir string) (*index, error) {
	x := &index{dir: dir, files: map[string]string{}, builtIn: map[string]bool{}, builtInAliases: map[string][]string{}}
	text, err := readIndex(dir, "modules.builtin")
	if err != nil {
		return nil, err
	}
	for line := range strings.FieldsSeq(text) {
		x.builtIn[moduleName(line)] = true
	}
	if text, err = readIndex(dir, "modules.builtin.modinfo"); err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(text, "\x00") { // NAME.alias=PATTERN
		name, pattern, ok := strings.Cut(field, ".alias=")
		if ok {
			x.builtInAliases[modules.Name(name)] = append(x.builtInAliases[modules.Name(name)], pattern)
		}
	}
	if text, err = readIndex(dir, "modules.dep"); err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if file, _, ok := strings.Cut(line, ":"); ok && fs.ValidPath(file) {
			x.files[moduleName(file)] = file
		}
	}
	if len(x.files) > 0 {
		return x, nil
	}
	return x, x.walk()
}

// walk finds the modules where no modules.dep is.
func (x *index) walk() error {
	return filepath.WalkDir(x.dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(plainName(file), ".ko") {
			return err
		}
		rel, err := filepath.Rel(x.dir, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		name := moduleName(rel)
		if old, twice := x.files[name]; !twice || strings.HasPrefix(rel, "updates/") && !strings.HasPrefix(old, "updates/") {
			x.files[name] = rel
		}
		return nil
	})
}

// moduleName is the name of the module in a file.
func moduleName(file string) string {
	return modules.Name(strings.TrimSuffix(plainName(path.Base(file)), ".ko"))
}

// load reads a module, unpacked.
func (x *index) load(name string) ([]byte, modinfo, error) {
	file := filepath.Join(x.dir, filepath.FromSlash(x.files[name]))
	f, err := os.Open(file)
	if err != nil {
		return nil, modinfo{}, err
	}
	defer f.Close()
	r, _, err := unpack(f)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	defer r.Close()
	b, err := readBounded(r, maxModule)
	if err != nil {
		return nil, modinfo{}, fmt.Errorf("%s: %w", file, err)
	}
	info, err := readModinfo(b)
	if err != nil {
		return nil, info, fmt.Errorf("%s: %w", file, err)
	}
	return b, info, nil
}

// resolve gives the modules that are meant by a name or an alias; none when it is built in, or nowhere.
func (x *index) resolve(name string) ([]string, error) {
	plain := modules.Name(name)
	if x.builtIn[plain] {
		return nil, nil
	}
	if _, ok := x.files[plain]; ok {
		return []string{plain}, nil
	}
	if err := x.readAliases(); err != nil {
		return nil, err
	}
	l := modules.List{Aliases: x.aliases}
	return l.Match(name), nil
}

func (x *index) readAliases() error {
	if x.read {
		return nil
	}
	x.read = true
	text, err := readIndex(x.dir, "modules.alias")
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == "alias" {
			if _, ok := x.files[modules.Name(w[2])]; ok {
				x.aliases = append(x.aliases, modules.Alias{Pattern: w[1], Name: modules.Name(w[2])})
			}
		}
	}
	if text != "" {
		return nil
	}
	for _, name := range sorted(x.files) {
		if !prefixed(x.files[name], aliasFolders) {
			continue
		}
		_, info, err := x.load(name)
		if err != nil {
			return err
		}
		for _, a := range info.aliases {
			x.aliases = append(x.aliases, modules.Alias{Pattern: a, Name: name})
		}
	}
	return nil
}
