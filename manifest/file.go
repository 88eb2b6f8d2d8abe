package manifest

import (
	"fmt"
	"slices"
)

// File is a Cell.toml: of a cell ([package] and what belongs to it), of a consumer ([cell.NAME]), or of both. A File
// that ParseFile has returned is checked throughout.
type File struct {
	Package *Package // nil: the file describes no cell
	Build   Build
	Run     Run
	Health  Health
	Sandbox Sandbox
	Trust   *Trust // nil: the cell is open

	Cells map[string]Dependency // by local name; nil when the file uses none
	Notes []string              // one line each, to be shown to the person once
}

// sections are the tables of a Cell.toml. Any other table at the top that names a repository is the seed's first form
// of a cell (see firstForm).
var sections = []string{"package", "build", "run", "health", "sandbox", "trust", "cell"}

// ParseFile decodes and checks a Cell.toml of at most MaxFileSize bytes. path is used in messages alone. The error is a
// *FileError.
func ParseFile(path string, data []byte) (*File, error) {
	root, err := parseTOML(path, data, MaxFileSize)
	if err != nil {
		return nil, err
	}
	f := &File{}
	f.Package = readPackage(root.table("package"))
	f.Build = readBuild(root.table("build"))
	f.Run = readRun(root.table("run"))
	f.Health = readHealth(root.table("health"))
	f.Sandbox = readSandbox(root.table("sandbox"))
	f.Trust = readTrust(root.table("trust"))
	f.readCells(root)
	refuseOrphans(root, f.Package)
	if err := root.tree.failed(); err != nil {
		return nil, err
	}
	return f, nil
}

// refuseOrphans refuses tables that describe a cell in a file that names none.
func refuseOrphans(root *node, p *Package) {
	for _, key := range sections[1 : len(sections)-1] {
		if n := root.table(key); p == nil && n.present() {
			n.fail("describes a cell, but there is no [package]; add [package] with name = %q", "your-cell")
		}
	}
}

// readCells reads [cell.NAME] and the seed's first form, a bare NAME = {git = …} at the top of the file.
func (f *File) readCells(root *node) {
	cells := root.table("cell")
	for _, name := range root.keys() {
		if n := root.peek(name); isFirstForm(name, n) {
			f.adopt(cells, n)
		}
	}
	names := cells.keys()
	if len(names) > MaxCells {
		cells.fail("names %d cells; at most %d are read", len(names), MaxCells)
		return
	}
	for _, name := range names {
		if f.Cells == nil {
			f.Cells = make(map[string]Dependency, len(names))
		}
		f.Cells[name] = readDependency(name, cells.table(name))
	}
	refuseUnknownTop(root)
}

func isFirstForm(name string, n *node) bool {
	return !isSection(name) && (n.peek("git") != nil || n.peek("tag") != nil || n.peek("path") != nil)
}

// adopt moves a cell from the top of the file under [cell]. What [cell.NAME.policy] adds to it is kept.
func (f *File) adopt(cells, n *node) {
	f.Notes = append(f.Notes, fmt.Sprintf("%s: %s stands at the top of the file; it is read as [cell.%s]",
		n.tree.file, n.key, n.key))
	all, _ := cells.value.(map[string]*node)
	if all == nil {
		all = map[string]*node{}
		cells.value = all
		cells.parent.value.(map[string]*node)["cell"] = cells
	}
	there := all[n.key]
	if there == nil {
		all[n.key] = n
		return
	}
	theirs, ok := there.value.(map[string]*node)
	if !ok {
		return // readDependency says so
	}
	mine := n.value.(map[string]*node)
	for _, key := range there.keys() {
		if mine[key] != nil {
			theirs[key].fail("is also written at the top of the file; keep one of the two")
			return
		}
		mine[key] = theirs[key]
	}
	all[n.key] = n
}

// refuseUnknownTop refuses what is neither a section nor a cell, with the way out for what people try first.
func refuseUnknownTop(root *node) {
	cells := root.table("cell")
	for _, key := range root.keys() {
		switch n := root.peek(key); {
		case isSection(key), isFirstForm(key, n):
		case key == "dependencies":
			n.fail("is not read: a cell is never a dependency of the code; write [cell.NAME] with git and tag")
		case cells.present() && key == "cells":
			n.fail("is not a known key; did you mean cell?")
		default:
			n.failUnknown(sections)
		}
	}
}

func isSection(key string) bool { return slices.Contains(sections, key) }
