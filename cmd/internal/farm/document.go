package farm

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// document reads a YAML file by its syntax tree, notes every mistake with its place, and goes on.
type document struct {
	file     string
	mistakes Mistakes
}

// place is where something stands in the file.
type place struct{ line, column int }

// word is a scalar with its place. The zero word stands for a field that is not there.
type word struct {
	text string
	at   place
}

func placeOf(n ast.Node) place {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0].Key // the token of a block mapping is its first colon
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return place{t.Position.Line, t.Position.Column}
	}
	return place{}
}

func (d *document) complain(at place, format string, args ...any) {
	d.mistakes = append(d.mistakes, Mistake{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

// parse returns the top mapping of the file, nil when there is none.
func (d *document) parse(data []byte) *object {
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, text := place{}, err.Error()
		var positioned yaml.Error
		if errors.As(err, &positioned) {
			text = positioned.GetMessage()
			if t := positioned.GetToken(); t != nil && t.Position != nil {
				at = place{t.Position.Line, t.Position.Column}
			}
		}
		d.complain(at, "not YAML: %s", text)
		return nil
	}
	docs := slices.DeleteFunc(file.Docs, func(n *ast.DocumentNode) bool { return n.Body == nil })
	switch len(docs) {
	case 0:
		d.complain(place{}, "the file is empty; a farm file has at least farm, key_file, servers and stores")
		return nil
	case 1:
		return d.object(docs[0].Body, "the farm file")
	default:
		d.complain(placeOf(docs[1].Body), "a second YAML document; a farm file is one")
		return nil
	}
}

// object is a mapping whose fields are taken one by one; what is left at the end is a mistake.
type object struct {
	d      *document
	what   string // how complaints call it
	at     place
	fields map[string]*ast.MappingValueNode
	order  []string
	asked  []string
}

// object reads a mapping. It returns nil, and complains, when n is something else.
func (d *document) object(n ast.Node, what string) *object {
	o := &object{d: d, what: what, at: placeOf(n), fields: map[string]*ast.MappingValueNode{}}
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.complain(o.at, "%s must be a mapping of names to values, not %s", what, kind(n))
		return nil
	}
	for _, v := range values {
		key, ok := d.scalar(v.Key)
		if !ok {
			continue
		}
		if first, ok := o.fields[key.text]; ok {
			d.complain(key.at, "%q stands here for the second time; the first is in line %d", key.text, placeOf(first.Key).line)
			continue
		}
		o.fields[key.text] = v
		o.order = append(o.order, key.text)
	}
	return o
}

// take returns the node of a field, nil when it is missing or empty.
func (o *object) take(name string) ast.Node {
	o.asked = append(o.asked, name)
	v := o.fields[name]
	if v == nil {
		return nil
	}
	delete(o.fields, name)
	if _, empty := v.Value.(*ast.NullNode); empty {
		return nil
	}
	return v.Value
}

// end complains about every field that nobody asked for.
func (o *object) end() {
	for _, name := range o.order {
		v := o.fields[name]
		switch {
		case v == nil:
		case secretNames[name]:
			o.d.complain(placeOf(v.Key), "unknown field %q: the farm file never holds a secret; name the file that does (key_file, psk_file)", name)
		default:
			o.d.complain(placeOf(v.Key), "unknown field %q in %s%s", name, o.what, suggest(name, o.asked))
		}
	}
}

// secretNames are fields that people might invent.
var secretNames = map[string]bool{"secret": true, "farm_key": true, "farm_secret": true, "psk": true, "password": true, "token": true}

// scalar reads a node as the text that stands in the file.
func (d *document) scalar(n ast.Node) (word, bool) {
	w := word{at: placeOf(n)}
	switch n := n.(type) {
	case *ast.StringNode:
		w.text = n.Value
	case *ast.LiteralNode:
		w.text = strings.TrimSpace(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		w.text = n.GetToken().Value
	default:
		d.complain(w.at, "a single value is wanted here, not %s", kind(n))
		return w, false
	}
	return w, true
}

// kind names a node for complaints.
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias (write the value out)"
	case *ast.TagNode:
		return "a tag (write the value without it)"
	case *ast.NullNode:
		return "nothing"
	default:
		return "a single value"
	}
}

// text takes an optional field.
func (o *object) text(name string) word {
	n := o.take(name)
	if n == nil {
		return word{}
	}
	w, ok := o.d.scalar(n)
	if ok && w.text == "" {
		o.d.complain(w.at, "%s is empty", name)
	}
	return w
}

// need takes a field that must be there.
func (o *object) need(name string) word {
	missing := o.fields[name] == nil
	w := o.text(name)
	if missing || w.at == (place{}) && w.text == "" {
		at := o.at
		o.d.complain(at, "%s has no %s", o.what, name)
		w.at = at
	}
	return w
}

// list takes a field that is a list and hands each entry to each.
func (o *object) list(name string, each func(ast.Node)) {
	n := o.take(name)
	if n == nil {
		return
	}
	s, ok := n.(*ast.SequenceNode)
	if !ok {
		o.d.complain(placeOf(n), "%s must be a list, each entry with a dash before it, not %s", name, kind(n))
		return
	}
	for _, v := range s.Values {
		each(v)
	}
}

// objects takes a field that is a list of mappings.
func (o *object) objects(name, what string, each func(*object)) {
	o.list(name, func(n ast.Node) {
		if entry := o.d.object(n, what); entry != nil {
			each(entry)
			entry.end()
		}
	})
}

// words takes a field that is a list of single values.
func (o *object) words(name string) []word {
	var all []word
	o.list(name, func(n ast.Node) {
		if w, ok := o.d.scalar(n); ok {
			all = append(all, w)
		}
	})
	return all
}

// number takes a field that is a number between low and high.
func (o *object) number(name string, standard, low, high float64) float64 {
	w := o.text(name)
	if w.text == "" {
		return standard
	}
	v, err := strconv.ParseFloat(w.text, 64)
	if err != nil || !(v >= low && v <= high) {
		o.d.complain(w.at, "%s is %q; it must be a number from %g to %g", name, w.text, low, high)
		return standard
	}
	return v
}

// whole takes a field that is a whole number between low and high.
func (o *object) whole(name string, standard, low, high int) int {
	w := o.text(name)
	if w.text == "" {
		return standard
	}
	v, err := strconv.Atoi(w.text)
	if err != nil || v < low || v > high {
		o.d.complain(w.at, "%s is %q; it must be a whole number from %d to %d", name, w.text, low, high)
		return standard
	}
	return v
}

// duration takes a field that is a duration between low and high.
func (o *object) duration(name string, standard, low, high time.Duration) time.Duration {
	w := o.text(name)
	if w.text == "" {
		return standard
	}
	v, err := time.ParseDuration(w.text)
	if err != nil || v < low || v > high {
		o.d.complain(w.at, "%s is %q; it must be a duration such as 30s, from %s to %s", name, w.text, low, high)
		return standard
	}
	return v
}

// choice takes a field that is one of a few words.
func choice[T ~string](o *object, name string, standard T, all ...T) T {
	w := o.text(name)
	if w.text == "" {
		return standard
	}
	if slices.Contains(all, T(w.text)) {
		return T(w.text)
	}
	names := make([]string, len(all))
	for i, a := range all {
		names[i] = string(a)
	}
	o.d.complain(w.at, "%s is %q; it must be one of %s", name, w.text, strings.Join(names, ", "))
	return standard
}

// suggest names the one of all that was probably meant.
func suggest(name string, all []string) string {
	if len(name) > maxNameBytes {
		return ""
	}
	best, least := "", max(2, len(name)/3)+1
	for _, a := range all {
		if n := distance(name, a); n < least {
			best, least = a, n
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of letters to insert, remove or change between two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
