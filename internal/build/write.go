package build

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/cellnode/cellnode/codegen"
	"github.com/cellnode/cellnode/manifest"
)

// maxGenerated is the size of one generated file that is read back.
const maxGenerated = 64 << 20

// pkg is a generated package, not yet on disk.
type pkg struct {
	dir        string
	importPath string
	files      map[string][]byte // by slash-separated path below dir
}

// generate makes the package of a cell.
func (b *Builder) generate(q Request, f *facts, locked manifest.LockedCell) (*pkg, error) {
	dir, err := filepath.Abs(q.folder(b.cfg.Dir, f.dep.Name))
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	p := &pkg{dir: dir}
	if p.importPath, err = importPath(dir); err != nil {
		return nil, err
	}
	interfaces := f.file.Package.Interface
	files := maps.Clone(f.raw)
	if !slices.Contains(interfaces, "Cell.toml") {
		delete(files, "Cell.toml")
	}
	p.files, err = codegen.Generate(codegen.Input{
		Files: files, Interfaces: interfaces, ImportRoots: f.file.Package.ImportRoots,
		ImportPath: p.importPath, Clients: q.Clients, Cell: locked, Policy: f.dep.Policy,
	})
	return p, err
}

// importPath is that of the Go package in dir, by the nearest go.mod.
func importPath(dir string) (string, error) {
	root := upwards(dir, "go.mod")
	if root == "" {
		return "", fmt.Errorf("build: no go.mod in %s or above, so a package there has no import path: run go mod init", dir)
	}
	data, err := readFile(filepath.Join(root, "go.mod"), manifest.MaxFileSize)
	if err != nil {
		return "", err
	}
	module := modfile.ModulePath(data)
	if module == "" {
		return "", fmt.Errorf("build: %s names no module", filepath.Join(root, "go.mod"))
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return "", fmt.Errorf("build: %w", err)
	}
	if rel == "." {
		return "", fmt.Errorf("build: %s is the root of a module: generate into a folder of its own with --out", dir)
	}
	return module + "/" + filepath.ToSlash(rel), nil
}

// changed reports whether the disk differs from p.
func (p *pkg) changed() (bool, error) {
	old, err := p.generated()
	if err != nil {
		return false, err
	}
	for name, data := range p.files {
		if !bytes.Equal(old[name], data) {
			return true, nil
		}
	}
	return len(old) != len(p.files), nil
}

// generated reads the files that an earlier run has left. A Go file that is not generated is an error: the folder is
// somebody else's.
func (p *pkg) generated() (map[string][]byte, error) {
	out := map[string][]byte{}
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		data, err := readFile(path, maxGenerated)
		if err != nil {
			return err
		}
		if !codegen.Generated(data) {
			return fmt.Errorf("build: %s was not written by cellnode: choose another folder with --out, or move it away", path)
		}
		rel, err := filepath.Rel(p.dir, path)
		out[filepath.ToSlash(rel)] = data
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return out, err
}

// write replaces the package. lock.go goes first and cell.go last, so that a package that is half new does not compile.
func (p *pkg) write() error {
	old, err := p.generated()
	if err != nil {
		return err
	}
	rank := func(name string) int { return slices.Index([]string{"lock.go", "", "cell.go"}, specialName(name)) }
	names := slices.SortedFunc(maps.Keys(p.files), func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if bytes.Equal(old[name], p.files[name]) {
			continue
		}
		path := filepath.Join(p.dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("build: %w", err)
		}
		if err := manifest.WriteFile(path, p.files[name], 0o644); err != nil {
			return fmt.Errorf("build: %w", err)
		}
	}
	for name := range old {
		if _, kept := p.files[name]; !kept {
			if err := os.Remove(filepath.Join(p.dir, filepath.FromSlash(name))); err != nil {
				return fmt.Errorf("build: %w", err)
			}
		}
	}
	return nil
}

func specialName(name string) string {
	if name == "lock.go" || name == "cell.go" {
		return name
	}
	return ""
}
