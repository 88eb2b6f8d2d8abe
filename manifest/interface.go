package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/bufbuild/protocompile/ast"
	"github.com/bufbuild/protocompile/parser"
	"github.com/bufbuild/protocompile/reporter"
)

// InterfaceFiles reads the interface files of a cell and everything that they import, and no other file. read gets a
// path inside the repository and returns fs.ErrNotExist for what is not there. What comes back, by path, is what
// Fingerprint and Compile need.
func InterfaceFiles(interfaces, importRoots []string, read func(path string) ([]byte, error)) (map[string][]byte, error) {
	w := fileWalk{read: read, files: map[string][]byte{}}
	for _, f := range interfaces {
		if err := w.need(f); err != nil {
			return nil, err
		}
	}
	order := rootOrders(interfaces, importRoots)[0]
	for len(w.queue) > 0 {
		file := w.queue[0]
		w.queue = w.queue[1:]
		names, err := imports(file, w.files[file])
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := w.needImport(file, name, order); err != nil {
				return nil, err
			}
		}
	}
	return w.files, nil
}

// absentError says that an interface file is not there.
type absentError struct{ file string }

func (e *absentError) Error() string { return "manifest: " + e.file + ": interface file is not there" }
func (e *absentError) Unwrap() error { return fs.ErrNotExist }

type fileWalk struct {
	read  func(string) ([]byte, error)
	files map[string][]byte
	queue []string // files whose imports have not been followed
	total int
}

// need reads one file, once.
func (w *fileWalk) need(file string) error {
	if _, ok := w.files[file]; ok {
		return nil
	}
	if err := CheckPath(file); err != nil {
		return err
	}
	data, err := w.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &absentError{file}
	}
	if err != nil {
		return err
	}
	w.files[file] = data
	w.total += len(data)
	if isProto(file) {
		w.queue = append(w.queue, file)
	}
	return checkSizes(file, len(data), len(w.files), w.total)
}

func checkSizes(file string, size, count, total int) error {
	switch {
	case size > MaxInterfaceSize:
		return fmt.Errorf("manifest: %s: is %d bytes; an interface file has at most %d", file, size, MaxInterfaceSize)
	case count > MaxInterfaceFiles:
		return fmt.Errorf("manifest: %s: is one file too many; an interface has at most %d with all imports", file, MaxInterfaceFiles)
	case total > MaxInterfaceTotal:
		return fmt.Errorf("manifest: %s: makes the interface larger than %d bytes", file, MaxInterfaceTotal)
	}
	return nil
}

func (w *fileWalk) needImport(from, name string, order roots) error {
	if isStandard(name) {
		return nil
	}
	if err := CheckPath(name); err != nil {
		return fmt.Errorf("manifest: %s: import %q: %w", from, name, err)
	}
	for _, p := range order.paths(name) {
		err := w.need(p)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("manifest: %s: import %q is in none of the import roots %v; set import_roots in [package] of Cell.toml",
		from, name, []string(order))
}

// imports lists what one protobuf file imports, in its order.
func imports(file string, data []byte) ([]string, error) {
	if err := checkShapeProto(file, data); err != nil {
		return nil, err
	}
	node, err := parser.Parse(file, bytes.NewReader(data), reporter.NewHandler(nil))
	if err != nil {
		return nil, fmt.Errorf("manifest: %s", oneLine(err.Error()))
	}
	var names []string
	for _, d := range node.Decls {
		if i, ok := d.(*ast.ImportNode); ok && !slices.Contains(names, i.Name.AsString()) {
			names = append(names, i.Name.AsString())
		}
	}
	return names, nil
}

// checkShapeProto refuses nesting, dotted names and lines so long that the compiler's cost, which grows with their
// square, would be felt.
func checkShapeProto(file string, data []byte) error {
	const limit = 2 * MaxDepth
	if n := longestLine(data); n > MaxInterfaceLine {
		return fmt.Errorf("manifest: %s: has a line of %d bytes; at most %d are read: break it", file, n, MaxInterfaceLine)
	}
	s := scanner{data: data, comment: '/', line: 1}
	depth, dots := 0, 0
	for {
		switch c := s.next(); c {
		case 0:
			return nil
		case '{', '[', '(', '<':
			depth, dots = depth+1, 0
		case '}', ']', ')', '>':
			depth, dots = max(depth-1, 0), 0
		case '.':
			dots++
		case ';', ',', '=':
			dots = 0
		}
		if depth > limit || dots > limit {
			return fmt.Errorf("manifest: %s:%d: is nested deeper than %d", file, s.line, limit)
		}
	}
}

func longestLine(data []byte) int {
	longest := 0
	for line := range bytes.Lines(data) {
		longest = max(longest, len(line))
	}
	return longest
}
