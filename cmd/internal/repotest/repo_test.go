package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/spate-project/spate"

// goFile is one parsed Go file; dir and path are relative to the top of the repository, with slashes.
type goFile struct {
	dir, path string
	test      bool
	ast       *ast.File
}

type tree struct {
	root  string
	files []string // every file that belongs to the repository, relative, with slashes
	goes  []goFile
	fset  *token.FileSet
}

// load reads the repository once for all tests of the package.
var load = sync.OnceValues(func() (*tree, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		if parent := filepath.Dir(root); parent != root {
			root = parent
			continue
		}
		return nil, os.ErrNotExist
	}
	t := &tree{root: root, fset: token.NewFileSet()}
	return t, fs.WalkDir(os.DirFS(root), ".", t.add)
})

func repository(t *testing.T) *tree {
	t.Helper()
	repo, err := load()
	if err != nil {
		t.Fatalf("read the repository: %v", err)
	}
	return repo
}

func (t *tree) add(path string, d fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case d.IsDir() && (path == ".git" || path == "build"):
		return fs.SkipDir
	case d.IsDir():
		return nil
	}
	t.files = append(t.files, path)
	if !strings.HasSuffix(path, ".go") || strings.Contains("/"+path, "/testdata/") {
		return nil
	}
	parsed, err := parser.ParseFile(t.fset, filepath.Join(t.root, path), nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := "."
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir = path[:i]
	}
	t.goes = append(t.goes, goFile{dir, path, strings.HasSuffix(path, "_test.go"), parsed})
	return nil
}

func (t *tree) read(test *testing.T, path string) string {
	test.Helper()
	b, err := os.ReadFile(filepath.Join(t.root, path))
	if err != nil {
		test.Fatal(err)
	}
	return string(b)
}

// at is the place of a node as an editor understands it.
func (t *tree) at(n ast.Node) string {
	p := t.fset.Position(n.Pos())
	rel, err := filepath.Rel(t.root, p.Filename)
	if err != nil {
		rel = p.Filename
	}
	p.Filename = rel
	return p.String()
}

// below tells whether dir is folder or lies in it.
func below(dir, folder string) bool {
	return dir == folder || strings.HasPrefix(dir, folder+"/")
}
