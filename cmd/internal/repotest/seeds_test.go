package repotest

import (
	"go/ast"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A fuzz target without seeds tries nothing in an ordinary pass.
func TestEveryFuzzTargetHasSeeds(t *testing.T) {
	repo := repository(t)
	for _, f := range repo.goes {
		for _, decl := range f.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !f.test || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Fuzz") {
				continue
			}
			corpus, err := os.ReadDir(filepath.Join(repo.root, f.dir, "testdata", "fuzz", fn.Name.Name))
			if (err != nil || len(corpus) == 0) && !addsSeeds(fn) {
				t.Errorf("%s: %s has no seeds: call f.Add, or give it a corpus in testdata/fuzz", repo.at(fn), fn.Name.Name)
			}
		}
	}
}

// addsSeeds tells whether a fuzz function calls Add on its argument or hands the argument to a helper.
func addsSeeds(fn *ast.FuncDecl) bool {
	if len(fn.Type.Params.List) != 1 || len(fn.Type.Params.List[0].Names) != 1 {
		return false
	}
	f := fn.Type.Params.List[0].Names[0].Name
	found := false
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Add" {
			if id, ok := sel.X.(*ast.Ident); ok && id.Name == f {
				found = true
			}
		}
		for _, a := range call.Args {
			if id, ok := a.(*ast.Ident); ok && id.Name == f {
				found = true
			}
		}
		return true
	})
	return found
}
