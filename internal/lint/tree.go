package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the path of the module that the rules are about.
const Module = "github.com/cellnode/cellnode"

// Finding is one broken rule at one place.
type Finding struct {
	Rule string // the short name of the rule, which //allow:RULE takes
	Path string // slash-separated, from the root of the tree
	Line int    // 0 for the file as a whole
	Text string // what is wrong and what to do
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s (%s)", f.Path, f.Text, f.Rule)
	}
	return fmt.Sprintf("%s:%d: %s (%s)", f.Path, f.Line, f.Text, f.Rule)
}

// Tree is the repository as text and, for Go files, as syntax. It is read-only after Load.
type Tree struct {
	Files []*File // by path
	fset  *token.FileSet
}

// File is one text file.
type File struct {
	Path string
	Data []byte
	AST  *ast.File // nil unless a Go file
	Test bool      // a _test.go file
	Main bool      // belongs to the main module, not to one nested in it

	imports map[string]string // local name → import path
	comms   map[ast.Stmt]bool // what the cases of select statements wait for
}

// Dir is the folder the file lies in, "." for the root.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Written reports whether a person wrote this Go file, as opposed to a generator.
func (f *File) Written() bool { return f.AST != nil && !ast.IsGenerated(f.AST) }

// Load reads every text file of fsys except what git and make keep to themselves (.git, bin).
func Load(fsys fs.FS) (*Tree, error) {
	t := &Tree{fset: token.NewFileSet()}
	var nested []string // folders with a go.mod of their own
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == ".git" || name == "bin"):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil || bytes.IndexByte(data, 0) >= 0 {
			return err
		}
		if path.Base(name) == "go.mod" && path.Dir(name) != "." {
			nested = append(nested, path.Dir(name)+"/")
		}
		f := &File{Path: name, Data: data, Test: strings.HasSuffix(name, "_test.go")}
		t.Files = append(t.Files, f)
		if strings.HasSuffix(name, ".go") && !strings.Contains("/"+name, "/testdata/") {
			return t.parse(f)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range t.Files {
		f.Main = !slices.ContainsFunc(nested, func(dir string) bool { return strings.HasPrefix(f.Path, dir) })
	}
	return t, nil
}

func (t *Tree) parse(f *File) (err error) {
	if f.AST, err = parser.ParseFile(t.fset, f.Path, f.Data, parser.ParseComments); err != nil {
		return err
	}
	f.imports = map[string]string{}
	for _, spec := range f.AST.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		f.imports[name] = p
	}
	f.comms = map[ast.Stmt]bool{}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if c, ok := n.(*ast.CommClause); ok && c.Comm != nil {
			f.comms[c.Comm] = true
		}
		return true
	})
	return nil
}

// Go gives the Go files that keep returns true for.
func (t *Tree) Go(keep func(*File) bool) []*File {
	return slices.DeleteFunc(slices.Clone(t.Files), func(f *File) bool { return f.AST == nil || !keep(f) })
}

func (t *Tree) line(n ast.Node) int { return t.fset.Position(n.Pos()).Line }

// selector reports which name of which imported package an expression like time.Sleep means, by
// the file's imports; ("", "") for anything else.
func (f *File) selector(n ast.Node) (pkg, name string) {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	if id, ok := sel.X.(*ast.Ident); ok && f.imports[id.Name] != "" {
		return f.imports[id.Name], sel.Sel.Name
	}
	return "", ""
}
