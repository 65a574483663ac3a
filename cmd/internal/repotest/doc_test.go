package repotest

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

func TestEveryPackageHasADocFile(t *testing.T) {
	repo := repository(t)
	documented, seen := map[string]bool{}, map[string]string{}
	for _, f := range repo.goes {
		seen[f.dir] = f.path
		if f.ast.Doc == nil || f.test {
			continue
		}
		program := f.ast.Name.Name == "main"
		if program || strings.HasSuffix(f.path, "/doc.go") {
			documented[f.dir] = true
		}
		want := "Package " + f.ast.Name.Name + " "
		if text := f.ast.Doc.Text(); !program && !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment must begin with %q", f.path, want)
		}
	}
	for dir, path := range seen {
		if !documented[dir] {
			t.Errorf("%s: the package has no doc.go with a package comment (see %s)", dir, path)
		}
	}
}

func TestEveryExportedNameHasASentence(t *testing.T) {
	repo := repository(t)
	for _, f := range repo.goes {
		if f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			for _, id := range undocumented(decl) {
				t.Errorf("%s: %s is exported and has no doc sentence", repo.at(id), id.Name)
			}
		}
	}
}

// selfEvident are methods whose meaning the standard library states.
var selfEvident = map[string]bool{"Error": true, "String": true, "Unwrap": true, "Len": true, "Less": true, "Swap": true}

// undocumented returns the exported names of a declaration that no comment speaks of. A group of constants
// or variables may share the comment above it.
func undocumented(decl ast.Decl) (names []*ast.Ident) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !selfEvident[d.Name.Name] {
			names = append(names, d.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					names = append(names, s.Name)
				}
			case *ast.ValueSpec:
				if s.Doc != nil || s.Comment != nil || d.Doc != nil || d.Tok == token.IMPORT {
					continue
				}
				for _, id := range s.Names {
					if id.IsExported() {
						names = append(names, id)
					}
				}
			}
		}
	}
	return names
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return true
	}
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}
