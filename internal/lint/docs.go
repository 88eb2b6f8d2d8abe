package lint

import (
	"fmt"
	"strings"
)

// PackageDocs asks for exactly one package comment in each package, outside its tests, that says
// its first sentence the usual way. Two comments would be printed one after the other by go doc.
func PackageDocs(t *Tree) []Finding {
	var found []Finding
	docs, first := map[string]int{}, map[string]*File{}
	for _, f := range t.Go(func(f *File) bool { return !f.Test }) {
		if first[f.Dir()] == nil {
			first[f.Dir()] = f
		}
		if f.AST.Doc == nil {
			continue
		}
		if docs[f.Dir()]++; docs[f.Dir()] > 1 {
			found = append(found, Finding{"doc", f.Path, t.line(f.AST.Name), "a second package comment: keep one, in the file that a reader opens first"})
		}
		want := "Package " + f.AST.Name.Name + " "
		if f.AST.Name.Name == "main" {
			want = "Command " + f.Dir()[strings.LastIndex(f.Dir(), "/")+1:] + " "
		}
		if !strings.HasPrefix(f.AST.Doc.Text(), want) {
			found = append(found, Finding{"doc", f.Path, t.line(f.AST.Name), fmt.Sprintf("the package comment does not begin with %q", want)})
		}
	}
	for dir, f := range first {
		if docs[dir] == 0 {
			found = append(found, Finding{"doc", f.Path, 0, "no file of this package has a package comment: say its one job"})
		}
	}
	return found
}
