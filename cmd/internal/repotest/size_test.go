package repotest

import (
	"go/ast"
	"testing"
)

const (
	maxFuncLines = 70
	maxFileLines = 500
)

// longFuncs and longFiles are the ratchet: what is longer than the rule today and may only become shorter.
// An entry is file and function (with its receiver), and its length in lines.
var (
	longFuncs = map[string]int{}
	longFiles = map[string]int{}
)

func TestFunctionsFitAScreen(t *testing.T) {
	repo := repository(t)
	found := map[string]int{}
	for _, f := range repo.goes {
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := repo.fset.Position(fn.End()).Line - repo.fset.Position(fn.Pos()).Line + 1
			if lines > maxFuncLines {
				found[f.path+" "+funcName(fn)] = lines
			}
		}
	}
	ratchet(t, "function", found, longFuncs, maxFuncLines)
}

func TestFilesHaveOneJob(t *testing.T) {
	repo := repository(t)
	found := map[string]int{}
	for _, f := range repo.goes {
		if lines := repo.fset.File(f.ast.Pos()).LineCount(); lines > maxFileLines {
			found[f.path] = lines
		}
	}
	ratchet(t, "file", found, longFiles, maxFileLines)
}

// ratchet compares what breaks a rule with the list of what may.
func ratchet(t *testing.T, what string, found, listed map[string]int, limit int) {
	t.Helper()
	for name, lines := range found {
		switch was, ok := listed[name]; {
		case !ok:
			t.Errorf("%s: a %s of %d lines, more than %d; split it by what its parts do", name, what, lines, limit)
		case lines > was:
			t.Errorf("%s: grown from %d to %d lines; the list in size_test.go may only shrink", name, was, lines)
		case lines < was:
			t.Errorf("%s: now %d lines; lower its entry in size_test.go", name, lines)
		}
	}
	for name := range listed {
		if _, ok := found[name]; !ok {
			t.Errorf("%s: no longer too long; remove its entry from size_test.go", name)
		}
	}
}

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	e := fn.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}
