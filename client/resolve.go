package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// Resolved is what a cell argument stands for.
type Resolved struct {
	Name   string // the name in Cell.toml, or empty for a cell named by its repository
	Cell   manifest.Cell
	Git    string // where the repository is fetched from
	Policy manifest.Policy
	Locked *manifest.LockedCell // nil without a Cell.lock that names the cell
	File   string               // the Cell.toml, or empty
	Path   string               // the working tree that Cell.toml takes the cell from, absolute; empty: none
	Notes  []string             // what a person should know of that file, one line each

	// Interface returns the wanted interface; nil: it is looked up in the home directory, and in the repository.
	Interface func() (manifest.InterfaceSet, error)

	read *manifest.Trust // what the repository says at the tag, where no lock says it
}

// OpenError says that a cell names no publishers and that the consumer has not said that it takes such a cell.
type OpenError struct {
	Cell manifest.Cell
	Name string // in Cell.toml, or empty
	Err  error  // why its repository could not be asked whether it names publishers; nil: it was, or Cell.lock says it
}

// Error says what to do.
func (e *OpenError) Error() string {
	how := "pass --allow-open (in Go: client.AllowOpen())"
	if e.Name != "" {
		how = fmt.Sprintf("write allow_open = true under [cell.%s.policy] in Cell.toml", e.Name)
	}
	if e.Err != nil {
		return fmt.Sprintf("cell %s may be open: whether it names publishers cannot be read (%v); to take it all the same, %s", e.Cell, e.Err, how)
	}
	return fmt.Sprintf("cell %s is open: it names no publishers, so any host on the Internet can answer as an instance of it; to take that, %s", e.Cell, how)
}

// trust is the [trust] of the cell, as far as it is known here; nil for an open one.
func (r *Resolved) trust() *manifest.Trust {
	if r.Locked != nil && r.Locked.Trust != nil {
		return r.Locked.Trust.Trust()
	}
	return r.read
}

// document is the newest trust document that our own files hold; nil where there is none.
func (r *Resolved) document() ([]byte, error) {
	if r.Locked == nil || r.Locked.Trust == nil || r.Locked.Trust.Document == "" {
		return nil, nil
	}
	chain, err := record.ParseTrust(r.Locked.Trust.Document)
	return chain.Bytes(), err
}

// Admit returns an *OpenError for a cell that names no publishers, unless its consumer takes such a cell: by allow_open
// in Cell.toml or, for one named by its repository, by allowOpen. Without a Cell.lock the cell counts as open until its
// repository has been read, which a Client does when it needs to.
func (r *Resolved) Admit(allowOpen bool) error {
	if r.trust() != nil || r.Policy.AllowOpen || r.Name == "" && allowOpen {
		return nil
	}
	return &OpenError{Cell: r.Cell, Name: r.Name}
}

// request is what is wanted of an instance: what the lock pins.
func (r *Resolved) request() find.Request {
	req := find.Request{Cell: r.Cell, Publishers: r.trust().Text()}
	if r.Locked != nil {
		req.Commit, req.Fingerprint = r.Locked.Commit, r.Locked.Fingerprint
	}
	return req
}

// seeds are the instances that the lock names.
func (r *Resolved) seeds() []manifest.Seed {
	if r.Locked == nil {
		return nil
	}
	return r.Locked.Seeds
}

// Resolve says what a cell argument stands for: a cell that a generated package has registered, a name in the nearest
// Cell.toml, or a repository with a tag. A name in the Cell.toml of a Config.Dir comes before those registered. Resolve
// reads files and opens no network socket.
func (c *Client) Resolve(arg string) (*Resolved, error) {
	if c.cfg.Dir != "" && manifest.CheckName(arg) == nil {
		if r, err := Resolve(c.cfg.Dir, arg); err == nil {
			return r, nil
		}
	}
	if r, err := resolveRegistered(arg); r != nil || err != nil {
		return r, err
	}
	return Resolve(c.cfg.Dir, arg)
}

// Resolve is a Client's Resolve without the Client, and without registered cells: it writes nothing, not even a home
// directory. The search for Cell.toml begins in dir; empty means the working directory.
func Resolve(dir, arg string) (*Resolved, error) {
	if strings.ContainsAny(arg, "@/:") {
		cell, err := manifest.ParseCell(arg)
		if err != nil {
			return nil, err
		}
		url, _, err := manifest.SplitCell(arg)
		if err != nil {
			return nil, err
		}
		if url == cell.Repository {
			url = cell.URL()
		}
		return &Resolved{Cell: cell, Git: url}, nil
	}
	if err := manifest.CheckName(arg); err != nil {
		return nil, err
	}
	path, err := cellFile(dir)
	if err != nil {
		return nil, fmt.Errorf("client: cell %q: %w", arg, err)
	}
	return resolveIn(path, arg)
}

func resolveIn(path, name string) (*Resolved, error) {
	data, err := readFile(path, manifest.MaxFileSize)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	file, err := manifest.ParseFile(path, data)
	if err != nil {
		return nil, err
	}
	dep, ok := file.Cells[name]
	if !ok {
		return nil, fmt.Errorf("client: %s names no cell %q%s: add [cell.%s] with git and tag", path, name, others(file), name)
	}
	r := &Resolved{Name: name, Cell: dep.Cell, Git: dep.Git, Policy: dep.Policy, File: path, Notes: file.Notes}
	if r.Path = dep.Path; r.Path != "" && !filepath.IsAbs(r.Path) {
		r.Path = filepath.Join(filepath.Dir(path), r.Path)
	}
	if r.Locked, err = readLock(filepath.Join(filepath.Dir(path), "Cell.lock"), dep); err != nil {
		return nil, err
	}
	return r, nil
}

func others(f *manifest.File) string {
	if len(f.Cells) == 0 {
		return ""
	}
	names := make([]string, 0, len(f.Cells))
	for name := range f.Cells {
		names = append(names, name)
	}
	return " (it names " + strings.Join(sorted(names), ", ") + ")"
}

// readLock returns what the lock beside a Cell.toml says of a cell, or nil where there is none. A lock of another
// repository or tag under the same name is out of date and an error.
func readLock(path string, dep manifest.Dependency) (*manifest.LockedCell, error) {
	data, err := readFile(path, manifest.MaxLockSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	lock, err := manifest.ParseLock(path, data)
	if err != nil {
		return nil, err
	}
	locked, ok := lock.Find(dep.Name)
	if !ok {
		return nil, nil
	}
	if locked.Cell != dep.Cell {
		return nil, fmt.Errorf("client: %s pins %s for cell %q, Cell.toml says %s: remove the entry from the lock to accept it", path, locked.Cell, dep.Name, dep.Cell)
	}
	return &locked, nil
}

// ErrNoCellFile says that there is no Cell.toml to look a name up in.
var ErrNoCellFile = errors.New("no Cell.toml here or above, and CELL_FILE is not set: name the cell as host/path@tag, or write a Cell.toml")

// cellFile finds the nearest Cell.toml, upwards like go.mod; then CELL_FILE.
func cellFile(dir string) (string, error) {
	if dir == "" {
		dir = "."
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		path := filepath.Join(dir, "Cell.toml")
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if path := os.Getenv("CELL_FILE"); path != "" {
		return path, nil
	}
	return "", ErrNoCellFile
}
