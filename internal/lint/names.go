package lint

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
	"unicode"
)

// The words that say nothing of what is inside, and those of biology that the glossary of CONTRIBUTING.md does not keep
// (it keeps cell, ribosome, capsid and membrane). A helper or a manager is a term of git or libp2p now and then, so a
// variable may be called so; a type, a file or a folder of ours may not.
var (
	empty   = []string{"util", "utils", "helpers", "managers", "misc"}
	vague   = []string{"helper", "manager", "common"}
	biology = []string{"nucleus", "mitosis", "organelle", "dna", "rna", "genome", "axon", "myelin", "tissue", "enzyme", "apoptosis"}
)

// Names forbids those words in the names of folders, Go files, packages and whatever Go code declares.
func Names(t *Tree) []Finding {
	var found []Finding
	dirs := map[string]bool{}
	for _, f := range t.Go((*File).Written) {
		complain := func(line int, kind, name string) {
			for _, word := range words(name) {
				if slices.Contains(empty, word) || slices.Contains(biology, word) || kind != "name" && slices.Contains(vague, word) {
					found = append(found, Finding{"name", f.Path, line, fmt.Sprintf("%s %s: the word %q is not used here; name what it does", kind, name, word)})
				}
			}
		}
		for dir := f.Dir(); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			complain(0, "folder", path.Base(dir))
		}
		complain(0, "file", strings.TrimSuffix(path.Base(f.Path), ".go"))
		ast.Inspect(f.AST, func(n ast.Node) bool {
			kind, ids := declared(n)
			for _, id := range ids {
				complain(t.line(id), kind, id.Name)
			}
			return true
		})
	}
	return found
}

// declared gives the names that a node brings into being, and what they name.
func declared(n ast.Node) (kind string, ids []*ast.Ident) {
	switch n := n.(type) {
	case *ast.File:
		return "package", []*ast.Ident{n.Name}
	case *ast.TypeSpec:
		return "type", []*ast.Ident{n.Name}
	case *ast.FuncDecl:
		return "name", []*ast.Ident{n.Name}
	case *ast.ValueSpec:
		return "name", n.Names
	case *ast.Field:
		return "name", n.Names
	case *ast.AssignStmt:
		for _, e := range n.Lhs {
			if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
				ids = append(ids, id)
			}
		}
	}
	return "name", ids
}

// words splits a name at underscores, hyphens and capitals: "newConnManager2" is new, conn, manager.
func words(name string) []string {
	var out []string
	var word []rune
	end := func() {
		if len(word) > 0 {
			out = append(out, strings.ToLower(string(word)))
		}
		word = nil
	}
	runes := []rune(name)
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			end()
			continue
		case unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			end()
		}
		word = append(word, r)
	}
	end()
	return out
}
