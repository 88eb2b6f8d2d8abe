package lint

import (
	"cmp"
	"slices"
	"strings"
)

// Rules are all the rules over a tree, by the name that //allow takes.
var Rules = map[string]func(*Tree) []Finding{
	"imports": Imports,
	"doc":     PackageDocs,
	"sleep":   Sleeps,
	"global":  Globals,
	"name":    Names,
	"text":    Texts,
	"link":    Links,
	"make":    Makefile,
	"proto":   Protos,
}

// Check applies every rule and takes off what is allowed in place. An //allow without a reason,
// for no rule, or that nothing needed is a finding itself: exceptions must not outlive their cause.
func Check(t *Tree) []Finding {
	var found []Finding
	for _, rule := range Rules {
		found = append(found, rule(t)...)
	}
	for _, f := range t.Files {
		found = f.allow(t, found)
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Text, b.Text))
	})
	return found
}

func (f *File) allow(t *Tree, found []Finding) []Finding {
	if f.AST == nil {
		return found
	}
	for _, group := range f.AST.Comments {
		for _, c := range group.List {
			text, ok := strings.CutPrefix(c.Text, "//allow:")
			if !ok {
				continue
			}
			line := t.line(c)
			rule, reason, _ := strings.Cut(text, " ")
			kept, used := found[:0:0], false
			for _, x := range found {
				if x.Rule == rule && x.Path == f.Path && (x.Line == line || x.Line == line+1) {
					used = true
					continue
				}
				kept = append(kept, x)
			}
			found = kept
			switch {
			case Rules[rule] == nil:
				found = append(found, Finding{"allow", f.Path, line, "there is no rule " + rule})
			case strings.TrimSpace(reason) == "":
				found = append(found, Finding{"allow", f.Path, line, "say why, after the rule's name"})
			case !used:
				found = append(found, Finding{"allow", f.Path, line, "nothing here needs it any more: remove it"})
			}
		}
	}
	return found
}
