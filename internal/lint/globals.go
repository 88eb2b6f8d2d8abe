package lint

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// ban is a name, or a whole package, that is not used outside some folders.
type ban struct {
	pkg   string
	names []string // none: the package may not be imported at all
	free  []string // folders where it may, with what lies under them
	tests bool     // tests may
	why   string
}

var bans = []ban{
	{"math/rand", nil, nil, false, "use math/rand/v2; the pure machines take a seeded *rand.Rand"},
	{"log", nil, nil, false, "take a *slog.Logger in Config"},
	{
		"log/slog",
		[]string{
			"Default", "SetDefault", "With", "Log", "LogAttrs", "Debug", "Info", "Warn", "Error",
			"DebugContext", "InfoContext", "WarnContext", "ErrorContext",
		},
		[]string{"cmd"},
		false,
		"take a *slog.Logger in Config: the global one belongs to the program, not to a room",
	},
	{"fmt", []string{"Print", "Printf", "Println"}, []string{"cmd", "examples"}, true, "a library is silent: return it or log it"},
	{
		"net/http",
		[]string{"DefaultClient", "DefaultTransport", "DefaultServeMux", "Get", "Head", "Post", "PostForm", "Handle", "HandleFunc", "ListenAndServe"},
		nil, false, "the defaults have no time limits and are shared with the whole program: make your own",
	},
}

// Globals enforces bans: state that a whole process shares, and what has a better successor.
func Globals(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Go((*File).Written) {
		for _, b := range bans {
			if b.tests && f.Test || slices.ContainsFunc(b.free, func(dir string) bool { return strings.HasPrefix(f.Path, dir+"/") }) {
				continue
			}
			found = append(found, b.in(t, f)...)
		}
	}
	return found
}

func (b ban) in(t *Tree, f *File) []Finding {
	var found []Finding
	for _, spec := range f.AST.Imports {
		if b.names == nil && strings.Trim(spec.Path.Value, `"`) == b.pkg {
			found = append(found, Finding{"global", f.Path, t.line(spec), fmt.Sprintf("imports %s: %s", b.pkg, b.why)})
		}
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if pkg, name := f.selector(n); pkg == b.pkg && slices.Contains(b.names, name) {
			found = append(found, Finding{"global", f.Path, t.line(n), fmt.Sprintf("%s.%s: %s", pkg, name, b.why)})
		}
		return true
	})
	return found
}
