package codegen

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of this module, whose client library generated code calls.
const module = "github.com/cellnode/cellnode"

// The packages that generated code may import, besides those generated with it.
var imports = []string{
	"context", "math", "net", "net/http", "reflect", "strings", "sync", "time", "unsafe",
	"google.golang.org/grpc", "google.golang.org/grpc/codes", "google.golang.org/grpc/status",
	"google.golang.org/protobuf/reflect/protoreflect", "google.golang.org/protobuf/reflect/protoregistry",
	"google.golang.org/protobuf/runtime/protoimpl", "google.golang.org/protobuf/proto",
	module + "/client", module + "/client/cellgrpc", module + "/client/cellproto",
}

// importFolders hold more of them: the Go packages of google/protobuf/*.proto.
var importFolders = []string{"google.golang.org/protobuf/types/"}

// unsafeNames is what the embedded descriptors need of package unsafe.
var unsafeNames = []string{"Slice", "StringData"}

func reformat(name string, text string) ([]byte, error) {
	data, err := format.Source([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("codegen: %s: %w", name, err)
	}
	return data, nil
}

// checkPackages parses every file again and holds it to the rules: known imports, no directive or cgo, no function
// without a body, no goroutine, ASCII names, and no name twice in a package. It returns the names by folder.
func checkPackages(files map[string][]byte) (map[string]map[string]string, error) {
	declared := map[string]map[string]string{} // folder → name → file
	for _, name := range slices.Sorted(maps.Keys(files)) {
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, name, files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("codegen: %w", err)
		}
		c := checker{set: set}
		c.file(f, folders(files))
		if c.err != nil {
			return nil, c.err
		}
		folder := path.Dir(name)
		if folder == "." {
			folder = ""
		}
		if declared[folder] == nil {
			declared[folder] = map[string]string{}
		}
		if err := declare(declared[folder], name, f); err != nil {
			return nil, err
		}
	}
	return declared, nil
}

func folders(files map[string][]byte) map[string]bool {
	out := map[string]bool{}
	for name := range files {
		out[path.Dir(name)] = true
	}
	return out
}

type checker struct {
	set *token.FileSet
	err error
}

func (c *checker) refuse(at token.Pos, format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("codegen: %s: generated code %s, which it may not: the interface needs something that this version does not know", c.set.Position(at), fmt.Sprintf(format, args...))
	}
}

func (c *checker) file(f *ast.File, own map[string]bool) {
	for _, group := range f.Comments {
		for _, comment := range group.List {
			if comment.Text != "//" && !strings.HasPrefix(comment.Text, "// ") && !strings.HasPrefix(comment.Text, "//\t") {
				c.refuse(comment.Pos(), "has the directive %q", comment.Text)
			}
			if strings.HasPrefix(comment.Text, "// +build") {
				c.refuse(comment.Pos(), "has the build constraint %q", comment.Text)
			}
		}
	}
	unsafeName := ""
	for _, spec := range f.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // it has parsed
		if p == "unsafe" {
			unsafeName = "unsafe"
			if spec.Name != nil {
				unsafeName = spec.Name.Name
			}
		}
		if !allowedImport(p, own) {
			c.refuse(spec.Pos(), "imports %q", p)
		}
		if spec.Name != nil && spec.Name.Name == "." {
			c.refuse(spec.Pos(), "imports the names of %q", p)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		c.node(n, unsafeName)
		return true
	})
}

// allowedImport takes the list above, and the packages generated along, whose paths end in one of their folders.
func allowedImport(p string, own map[string]bool) bool {
	if slices.Contains(imports, p) || own[path.Base(p)] && strings.Contains(p, "/") {
		return true
	}
	return slices.ContainsFunc(importFolders, func(dir string) bool { return strings.HasPrefix(p, dir) })
}

func (c *checker) node(n ast.Node, unsafeName string) {
	switch n := n.(type) {
	case *ast.Ident:
		if !isASCII(n.Name) {
			c.refuse(n.Pos(), "has the name %q", n.Name)
		}
	case *ast.FuncDecl:
		if n.Body == nil {
			c.refuse(n.Pos(), "declares %s without a body", n.Name.Name)
		}
	case *ast.GoStmt:
		c.refuse(n.Pos(), "starts a goroutine")
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && unsafeName != "" && x.Name == unsafeName && !slices.Contains(unsafeNames, n.Sel.Name) {
			c.refuse(n.Pos(), "uses unsafe.%s", n.Sel.Name)
		}
	}
}

// declare adds the package-level names of a file. A name twice would not compile, and the compiler would not say whose
// fault it is.
func declare(names map[string]string, file string, f *ast.File) error {
	add := func(id *ast.Ident) error {
		if id.Name == "_" || id.Name == "init" {
			return nil
		}
		if where, twice := names[id.Name]; twice {
			return fmt.Errorf("codegen: the interface leads to two Go declarations of %s (%s, %s): rename one of them in it, or choose another type on the left of =", id.Name, where, file)
		}
		names[id.Name] = file
		return nil
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
			if err := add(fn.Name); err != nil {
				return err
			}
		}
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			for _, id := range specNames(spec) {
				if err := add(id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func specNames(spec ast.Spec) []*ast.Ident {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		return []*ast.Ident{s.Name}
	case *ast.ValueSpec:
		return s.Names
	}
	return nil
}
