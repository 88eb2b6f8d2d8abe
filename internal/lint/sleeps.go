package lint

import (
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// Sleeps forbids waiting for a fixed time, time.Sleep or a lone <-time.After, wherever the wait is
// real: in code that ships, and in tests outside a bubble of testing/synctest. A test that sleeps
// for real is slow on a fast machine and wrong on a slow one.
//
// In tests the rule follows calls by name within a folder: a function may sleep if no test reaches
// it but from inside a bubble. And a test of real sockets or processes may poll: sleep right in a
// loop whose condition asks whether the event has come.
func Sleeps(t *Tree) []Finding {
	var found []Finding
	tests := map[string][]*File{}
	for _, f := range t.Go((*File).Written) {
		if f.Test {
			tests[f.Dir()] = append(tests[f.Dir()], f)
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if f.sleeps(n) {
				found = append(found, Finding{"sleep", f.Path, t.line(n), "waits for a fixed time: use a timer in a select with ctx.Done, so that Close and a cancelled caller end it"})
			}
			return true
		})
	}
	for _, files := range tests {
		found = append(found, sleepsOutside(t, files)...)
	}
	return found
}

// sleeps reports whether n waits for a fixed time and for nothing else.
func (f *File) sleeps(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.CallExpr:
		pkg, name := f.selector(n.Fun)
		return pkg == "time" && name == "Sleep"
	case *ast.ExprStmt:
		recv, ok := n.X.(*ast.UnaryExpr)
		if !ok || f.comms[n] { // in a select it is one of several things waited for
			return false
		}
		call, ok := recv.X.(*ast.CallExpr)
		if !ok {
			return false
		}
		pkg, name := f.selector(call.Fun)
		return pkg == "time" && name == "After"
	}
	return false
}

// testFunc is a function of the tests of one folder, seen from outside bubbles.
type testFunc struct {
	entry  bool // go test calls it
	calls  map[string]bool
	sleeps []Finding
}

// sleepsOutside finds the sleeps that go test can reach without entering a bubble.
func sleepsOutside(t *Tree, files []*File) []Finding {
	bubbles := map[string]bool{} // functions that run their function argument in a bubble
	for grew := true; grew; {
		grew = false
		each(files, func(f *File, fn *ast.FuncDecl) {
			if !bubbles[fn.Name.Name] && takesFunc(fn) && entersBubble(f, fn.Body, bubbles) {
				bubbles[fn.Name.Name], grew = true, true
			}
		})
	}
	funcs := map[string]*testFunc{}
	each(files, func(f *File, fn *ast.FuncDecl) {
		name := fn.Name.Name
		if fn.Recv != nil {
			name = "." + name
		}
		tf := funcs[name]
		if tf == nil {
			tf = &testFunc{calls: map[string]bool{}}
			funcs[name] = tf
		}
		tf.entry = tf.entry || fn.Recv == nil && isEntry(fn.Name.Name)
		t.outside(f, fn.Body, bubbles, tf)
	})
	var found []Finding
	reached, next := map[string]bool{}, []string{}
	for name, fn := range funcs {
		if fn.entry {
			next = append(next, name)
		}
	}
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if fn := funcs[name]; fn != nil && !reached[name] {
			reached[name] = true
			found = append(found, fn.sleeps...)
			next = append(next, slices.Collect(maps.Keys(fn.calls))...)
		}
	}
	return found
}

// outside records what body does itself, leaving out the functions it hands to a bubble.
func (t *Tree) outside(f *File, body ast.Node, bubbles map[string]bool, into *testFunc) {
	polls := map[ast.Node]bool{}
	ast.Inspect(body, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok && asks(loop.Cond) {
			for _, s := range append([]ast.Stmt{loop.Post}, loop.Body.List...) {
				polls[s] = true
			}
		}
		if s, ok := n.(*ast.ExprStmt); ok && polls[n] && (f.sleeps(s) || f.sleeps(s.X)) {
			return false
		}
		if f.sleeps(n) {
			into.sleeps = append(into.sleeps, Finding{"sleep", f.Path, t.line(n), "sleeps in real time: use testing/synctest, or wait for the event itself"})
			return false
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			if !f.isBubble(n, bubbles) {
				return true
			}
			for _, arg := range n.Args { // what runs inside; the rest is evaluated out here
				switch arg.(type) {
				case *ast.FuncLit, *ast.Ident:
				default:
					t.outside(f, arg, bubbles, into)
				}
			}
			return false
		case *ast.SelectorExpr:
			if pkg, _ := f.selector(n); pkg != "" {
				return false
			}
			into.calls["."+n.Sel.Name] = true // of a method, if it is one of ours
			t.outside(f, n.X, bubbles, into)
			return false
		case *ast.Ident:
			into.calls[n.Name] = true // a call, or a reference that may become one
		}
		return true
	})
}

// isBubble reports whether the call runs its function argument in a bubble.
func (f *File) isBubble(call *ast.CallExpr, bubbles map[string]bool) bool {
	if pkg, name := f.selector(call.Fun); pkg == "testing/synctest" && name == "Test" {
		return true
	}
	id, ok := call.Fun.(*ast.Ident)
	return ok && bubbles[id.Name]
}

func entersBubble(f *File, body ast.Node, bubbles map[string]bool) (enters bool) {
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		enters = enters || ok && f.isBubble(call, bubbles)
		return !enters
	})
	return enters
}

// asks reports whether a loop's condition calls something.
func asks(cond ast.Expr) (calls bool) {
	if cond != nil {
		ast.Inspect(cond, func(n ast.Node) bool {
			_, ok := n.(*ast.CallExpr)
			calls = calls || ok
			return !calls
		})
	}
	return calls
}

func takesFunc(fn *ast.FuncDecl) bool {
	return slices.ContainsFunc(fn.Type.Params.List, func(p *ast.Field) bool {
		_, ok := p.Type.(*ast.FuncType)
		return ok
	})
}

func isEntry(name string) bool {
	return slices.ContainsFunc([]string{"Test", "Benchmark", "Fuzz", "Example"}, func(p string) bool { return strings.HasPrefix(name, p) }) || name == "init"
}

func each(files []*File, do func(*File, *ast.FuncDecl)) {
	for _, f := range files {
		for _, d := range f.AST.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				do(f, fn)
			}
		}
	}
}
