package manifest

import (
	"strings"
)

// Package says what cell a repository is.
type Package struct {
	Name        string   // see CheckName; what the cell is called where nothing else is said
	Repository  string   // where the cell is published, as written; empty: wherever it was fetched from
	Description string   // one line, at most MaxDescription bytes
	Interface   []string // the files that define its interface, from the root of the repository
	ImportRoots []string // folders in which those files' imports are looked up; empty: see Fingerprint
}

// Build says how the ribosome makes the cell's binary. The zero value builds the Go package at the root.
type Build struct {
	Package string   // Go package, ./cmd/exchange; empty with Command
	Command []string // any other build: argv, run at the root of the checkout
	Output  string   // where Command leaves the binary, from the root
}

// CellAt is the cell that a repository is when f is its Cell.toml at tag and url is where it was fetched from. A
// repository on disk may say by its own [package] repository where it belongs; one on a host is where it is.
func (f *File) CellAt(url, tag string) (Cell, error) {
	cell, err := NewCell(url, tag)
	if err != nil {
		return Cell{}, err
	}
	if f.Package != nil && f.Package.Repository != "" && strings.HasPrefix(cell.Repository, "file:") {
		return NewCell(f.Package.Repository, tag)
	}
	return cell, nil
}

func readPackage(n *node) *Package {
	if !n.present() {
		return nil
	}
	p := &Package{
		Name:        n.text("name", 256),
		Repository:  n.text("repository", MaxURLSize),
		Description: n.text("description", MaxDescription),
		Interface:   readPaths(n, "interface", MaxInterfaces),
		ImportRoots: readPaths(n, "import_roots", MaxImportRoots),
	}
	n.refuseUnknown()
	if p.Name == "" {
		n.fail(`has no name; write name = "exchange"`)
	} else if problem := nameProblem(p.Name); problem != "" {
		n.child("name").fail("%s", problem)
	}
	checkRepository(n.child("repository"), p.Repository)
	return p
}

// checkRepository accepts only what the whole world can fetch.
func checkRepository(n *node, url string) {
	if !n.present() {
		return
	}
	if canonical, err := CanonicalRepository(url); err != nil {
		n.fail("%s", problem(err))
	} else if strings.HasPrefix(canonical, "file:") {
		n.fail("is a path on this disk; write where the cell is published, or leave the key out")
	}
}

// readPaths reads paths inside the repository; "." stands for its root and is for folders alone.
func readPaths(n *node, key string, limit int) []string {
	paths := n.texts(key, limit, MaxPathSize)
	seen := map[string]bool{}
	for i, p := range paths {
		if key == "import_roots" {
			p = strings.TrimSuffix(strings.TrimPrefix(p, "./"), "/")
			if p == "" {
				p = "."
			}
			paths[i] = p
		}
		if problem := pathProblem(p); problem != "" && !(p == "." && key == "import_roots") {
			n.child(key).fail("has %q: it %s", p, problem)
		}
		if seen[p] {
			n.child(key).fail("has %q twice", p)
		}
		seen[p] = true
	}
	return paths
}

func readBuild(n *node) Build {
	b := Build{
		Package: n.text("package", MaxPathSize),
		Command: readCommand(n, "command"),
		Output:  n.text("output", MaxPathSize),
	}
	n.refuseUnknown()
	if n.child("package").present() {
		checkGoPackage(n.child("package"), b.Package)
	}
	switch {
	case b.Command != nil && b.Package != "":
		n.fail("has both package and command; keep one")
	case b.Command != nil && b.Output == "":
		n.fail("has a command but no output; write where it leaves the binary")
	case b.Command == nil && b.Output != "":
		n.child("output").fail("goes with command; a Go package needs none")
	}
	if b.Output != "" {
		if problem := pathProblem(b.Output); problem != "" {
			n.child("output").fail("%s", problem)
		}
	}
	return b
}

// checkGoPackage accepts a folder of the repository: ".", "./cmd/exchange" or "cmd/exchange". Patterns and other
// modules are not built.
func checkGoPackage(n *node, pkg string) {
	folder := strings.TrimPrefix(pkg, "./")
	if folder == "." || pkg == "./" {
		return
	}
	if problem := pathProblem(folder); problem != "" {
		n.fail("%s", problem)
	} else if strings.Contains(folder, "...") {
		n.fail("is a pattern; name the one package that is the cell's main")
	}
}
