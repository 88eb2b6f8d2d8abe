package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of a whole tree.
const (
	maxExportFiles = 20_000
	maxExportBytes = 256 << 20
	exportBatch    = 500 // objects asked for together
)

// Export writes the plain files of a commit, which the tag must be at, below the empty folder dir: 0644, or 0755 for
// executables, folders 0755. What could lead elsewhere – links, submodules, names such as .git or .. – is not written;
// leftOut names it. No attribute, filter or hook of the repository has any effect. An error is one of Resolve's, a
// *ContentError, or that of writing; dir may hold a part then.
func (s *Source) Export(ctx context.Context, url, tag, commit, dir string) (leftOut []string, err error) {
	cell, err := check(url, tag)
	if err != nil {
		return nil, err
	}
	if s.offline(url) {
		return nil, offline(cell)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer root.Close()
	e := &export{root: root}
	err = s.read(ctx, url, cell.Repository, "refs/tags/"+tag, commit, withoutFiles, func(o *objects) error {
		*e = export{root: root}
		return e.all(o)
	})
	slices.Sort(e.leftOut)
	return e.leftOut, content(url, tag, err)
}

type export struct {
	root    *os.Root
	files   []exportFile
	leftOut []string
	bytes   int64
}

type exportFile struct {
	path, object string
	mode         os.FileMode
}

func (e *export) all(o *objects) error {
	if err := e.walk(o, "", o.root, 0); err != nil {
		return err
	}
	if o.fetch != nil {
		for batch := range slices.Chunk(e.files, exportBatch) {
			var wanted []string
			for _, f := range batch {
				wanted = append(wanted, f.object)
			}
			slices.Sort(wanted)
			_ = o.fetch(slices.Compact(wanted)) // reading them will tell
		}
	}
	for _, f := range e.files {
		if err := e.write(o, f); err != nil {
			return err
		}
	}
	return nil
}

// maxExportDepth bounds the nesting of folders.
const maxExportDepth = 64

func (e *export) walk(o *objects, folder, object string, depth int) error {
	names, err := o.tree(object)
	if err != nil {
		return err
	}
	for name, entry := range names {
		at := path.Join(folder, name)
		switch {
		case !isPlainName(name) || depth > maxExportDepth:
			e.leftOut = append(e.leftOut, at)
		case entry.mode == "40000":
			err = e.walk(o, at, entry.object, depth+1)
		case entry.mode == "100755":
			e.files = append(e.files, exportFile{at, entry.object, 0o755})
		case strings.HasPrefix(entry.mode, "100"):
			e.files = append(e.files, exportFile{at, entry.object, 0o644})
		default: // a link or a submodule
			e.leftOut = append(e.leftOut, at)
		}
		if err == nil && len(e.files) > maxExportFiles {
			err = &contentFault{fmt.Errorf("it has more than %d files", maxExportFiles)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// isPlainName refuses what is no file's name, and what git itself would take for its own.
func isPlainName(name string) bool {
	return filepath.IsLocal(name) && !strings.ContainsAny(name, "/\\\x00\n") && name != "." && !strings.EqualFold(name, ".git")
}

func (e *export) write(o *objects, f exportFile) error {
	_, data, err := o.part(f.object, "blob", maxExportBytes-e.bytes)
	if err != nil {
		if errors.Is(err, errBroken) {
			return err
		}
		return &contentFault{fmt.Errorf("%s %w", f.path, err)}
	}
	e.bytes += int64(len(data))
	if err := e.root.MkdirAll(path.Dir(f.path), 0o755); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := e.root.WriteFile(f.path, data, f.mode); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	return nil
}
