package lint

import (
	"bytes"
	"path"
)

// Protos asks that `make generate` knows how to generate from every .proto file: a go:generate
// line in a Go file beside it, or in the folder above, that names the file.
func Protos(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".proto" {
			continue
		}
		known := false
		for _, g := range t.Files {
			near := g.Dir() == f.Dir() || g.Dir() == path.Dir(f.Dir())
			known = known || near && g.AST != nil && generates(g, path.Base(f.Path))
		}
		if !known {
			found = append(found, Finding{"proto", f.Path, 0, "no //go:generate line beside it names it: make generate would leave it out"})
		}
	}
	return found
}

func generates(f *File, proto string) bool {
	for line := range bytes.Lines(f.Data) {
		if bytes.HasPrefix(line, []byte("//go:generate ")) && bytes.Contains(line, []byte(proto)) {
			return true
		}
	}
	return false
}
