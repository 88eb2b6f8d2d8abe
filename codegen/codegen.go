// Package codegen turns a cell's interface into a Go package that the compiler checks: messages, a client and a server
// stub for each service, and the cell's registration with the client library.
//
// It is pure: interface files in, Go files out. No compiler is run, nothing is fetched. What the repository says is
// data: identifiers are checked, strings are quoted, comments are dropped, the repository's own go_package is ignored,
// and what comes out is parsed again and held to a list of what generated code may contain (see check.go). Equal input
// gives equal bytes.
package codegen

import (
	"fmt"
	"go/token"
	"maps"
	"path"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cellnode/cellnode/manifest"
)

// Input is what a package is generated from.
type Input struct {
	Files       map[string][]byte // interface files and what they import, by path (see manifest.InterfaceFiles)
	Interfaces  []string          // [package] interface of the cell
	ImportRoots []string          // [package] import_roots of the cell

	ImportPath string              // of the package to generate
	Clients    []Client            // what the client types are called; a service without one keeps its own name
	Cell       manifest.LockedCell // what is registered; an empty Commit is not pinned
	Policy     manifest.Policy     // of the consumer
}

// Client asks for a Go type: cellnode remote TYPE=CELL:SERVICE.
type Client struct {
	Type    string // exported Go identifier
	Service string // full or last name of the service; empty: the one whose client has this name, else the only one
}

// Generate returns the files of the package by slash-separated path below its folder. Interfaces of several protobuf
// packages come as one Go package each, in folders below it.
func Generate(in Input) (map[string][]byte, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	set, err := manifest.CompileSet(in.Files, in.Interfaces, in.ImportRoots)
	if err != nil {
		return nil, err
	}
	if len(set.Files) == 0 {
		return in.plain()
	}
	g := &generation{Input: in, set: set}
	if err := g.prepare(set.Files); err != nil {
		return nil, err
	}
	files, err := g.messagesAndStubs()
	if err != nil {
		return nil, err
	}
	return g.finish(files)
}

// generation is the work on one package.
type generation struct {
	Input
	set     manifest.InterfaceSet
	files   []protoreflect.FileDescriptor // without the well-known ones, imports before their importers
	folders map[string]string             // file path → folder of its Go package below the root, "" for the root
	renamed map[protoreflect.FullName]string
	root    string // package name of the root
}

// check refuses what no interface can make good.
func (in *Input) check() error {
	if err := checkImportPath(in.ImportPath); err != nil {
		return err
	}
	if err := manifest.CheckName(in.Cell.Name); err != nil {
		return err
	}
	if in.Cell.Cell.IsZero() {
		return fmt.Errorf("codegen: cell %q has no repository and tag", in.Cell.Name)
	}
	seen := map[string]bool{}
	for _, c := range in.Clients {
		if !isASCII(c.Type) || !token.IsIdentifier(c.Type) || !token.IsExported(c.Type) {
			return fmt.Errorf("codegen: %q is no name of an exported Go type: write one such as ExchangeClient", c.Type)
		}
		if seen[c.Type] {
			return fmt.Errorf("codegen: the type %s is asked for twice", c.Type)
		}
		seen[c.Type] = true
	}
	for _, name := range slices.Sorted(maps.Keys(in.Files)) {
		if !isPlainPath(name) {
			return fmt.Errorf("codegen: interface file %q: only letters, digits and ._-/ are taken in a path", name)
		}
	}
	return nil
}

// finish adds the cell's own files, and holds everything to the rules.
func (g *generation) finish(files map[string][]byte) (map[string][]byte, error) {
	taken, err := checkPackages(files)
	if err != nil {
		return nil, err
	}
	own, err := g.cellFiles(taken[""])
	if err != nil {
		return nil, err
	}
	maps.Copy(files, own)
	if _, err := checkPackages(files); err != nil {
		return nil, err
	}
	return files, nil
}

// plain is the package of a cell whose interface is not protobuf, or that declares none.
func (in *Input) plain() (map[string][]byte, error) {
	if len(in.Clients) > 0 && in.Clients[0].Service != "" {
		return nil, fmt.Errorf("codegen: cell %s has no protobuf interface, so no service %q", in.Cell.Name, in.Clients[0].Service)
	}
	g := &generation{Input: *in, root: PackageName(path.Base(in.ImportPath))}
	return g.finish(map[string][]byte{})
}
