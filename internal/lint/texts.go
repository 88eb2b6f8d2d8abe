package lint

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strings"
)

// private are texts that mean something on one machine only. They are put together from halves so
// that this file does not hold them.
var private = []string{"/wor" + "k/", "/tmp" + "/cell", "/home" + "/runner"}

// Texts forbids private texts, and references to documents that are not in the tree: a reader must
// be able to follow what a comment points at.
func Texts(t *Tree) []Finding {
	var found []Finding
	there := map[string]bool{}
	for _, f := range t.Files {
		there[f.Path] = true
	}
	for _, f := range t.Files {
		for i, line := range strings.Split(string(f.Data), "\n") {
			for _, text := range private {
				if strings.Contains(line, text) {
					found = append(found, Finding{"text", f.Path, i + 1, fmt.Sprintf("%q is of no meaning on another machine", text)})
				}
			}
			for _, doc := range document.FindAllString(line, -1) {
				if f.AST != nil && !there[path.Join(f.Dir(), doc)] && !there[doc] && !there["docs/"+doc] {
					found = append(found, Finding{"text", f.Path, i + 1, "points at " + doc + ", which is neither beside it, nor at the top, nor in docs"})
				}
			}
		}
	}
	return found
}

var (
	document = regexp.MustCompile(`\b[A-Z]{4,}\.md\b`)
	mdLink   = regexp.MustCompile(`\]\(([^()\s]+)\)`)
)

// Links follows every relative link of a Markdown file to a file or folder of the tree.
func Links(t *Tree) []Finding {
	var found []Finding
	there := map[string]bool{".": true}
	for _, f := range t.Files {
		for name := f.Path; name != "."; name = path.Dir(name) {
			there[name] = true
		}
	}
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".md" {
			continue
		}
		for i, line := range strings.Split(string(f.Data), "\n") {
			for _, m := range mdLink.FindAllStringSubmatch(line, -1) {
				to, err := url.Parse(m[1])
				if err == nil && (to.IsAbs() || to.Path == "") {
					continue
				}
				if err != nil || !there[path.Join(f.Dir(), to.Path)] {
					found = append(found, Finding{"link", f.Path, i + 1, "the link leads nowhere: " + m[1]})
				}
			}
		}
	}
	return found
}
