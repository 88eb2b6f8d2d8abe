// Package build is the step before the compiler: it resolves the cells that a consumer names, asks their instances who
// they are, decides with manifest.Decide whether they may be used, pins the answer in Cell.lock and generates the typed
// clients.
//
// The order is that of the seed text: a service on this machine, the repository and its list, one probe of every
// instance, the nearest within max_latency_ms, else started here, else the error. Nothing is written before every
// question has its answer, and each file is replaced as a whole.
package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// Config says where a build takes place. Dir is required.
type Config struct {
	Dir      string // the folder that the command stands in: Cell.toml is looked for upwards, clients are written below
	Home     string // as in client.Config
	Update   bool   // take what the repositories say now, in place of what Cell.lock says
	ReadOnly bool   // write nothing: find out what would be written
	Frozen   bool   // ReadOnly, and open no network socket
	Anywhere bool   // Dir need not be a consumer's: cells are named by their repositories then

	Daemon   []string                // starts the machine's node where none is installed, as in client.Config
	Progress func(name, step string) // of a cell that is started here; nil: silent

	SurveyTimeout time.Duration // for finding and asking the instances of one cell; 0: 5 s
	Log           *slog.Logger  // nil: silent
}

// A Builder does the build step for one consumer. It is used by one goroutine.
type Builder struct {
	cfg      Config
	consumer *consumer
	home     *home.Dir // nil where there is none
	source   *source.Source
	spare    string         // the folder of its cache, where that is not in home
	client   *client.Client // nil until instances are asked
}

// New reads the consumer's files. Close gives back what asking instances has opened.
func New(cfg Config) (*Builder, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.SurveyTimeout == 0 {
		cfg.SurveyTimeout = 5 * time.Second
	}
	if cfg.Progress == nil {
		cfg.Progress = func(string, string) {}
	}
	cfg.ReadOnly = cfg.ReadOnly || cfg.Frozen
	b := &Builder{cfg: cfg}
	var err error
	if b.consumer, err = readConsumer(cfg.Dir, cfg.Anywhere); err != nil {
		return nil, err
	}
	return b, b.openHome()
}

func (b *Builder) openHome() (err error) {
	if b.cfg.Home != "" {
		b.home, err = home.At(b.cfg.Home)
	} else {
		b.home, err = home.OpenIfAny()
	}
	if err != nil {
		return err
	}
	return b.openSource()
}

// openSource opens the reader of repositories. Where there is no home directory, or none that can be written as on a
// build server, its cache is a folder of this Builder's own.
func (b *Builder) openSource() (err error) {
	cfg := source.Config{Offline: b.cfg.Frozen, Log: b.cfg.Log}
	if b.home != nil {
		cfg.CacheDir = b.home.Path("cache", "git")
		if b.source, err = source.New(cfg); err == nil {
			return nil
		}
		b.cfg.Log.Warn("no cache of repositories in the home directory", "err", err)
	}
	if b.spare, err = os.MkdirTemp("", "cell-git-"); err != nil {
		return fmt.Errorf("build: there is no home directory, and nowhere to put its cache: %w", err)
	}
	cfg.CacheDir = b.spare
	if b.source, err = source.New(cfg); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

// Close may be called more than once.
func (b *Builder) Close() error {
	var failed error
	if b.client != nil {
		failed = b.client.Close()
	}
	if b.spare != "" {
		failed = errors.Join(failed, os.RemoveAll(b.spare))
	}
	return failed
}

// consumer is what the consumer's own files say.
type consumer struct {
	dir  string         // where Cell.toml lies, or go.mod where there is no Cell.toml
	path string         // of Cell.toml, or empty
	file *manifest.File // zero without Cell.toml
	lock *manifest.Lock
}

func readConsumer(dir string, anywhere bool) (*consumer, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	c := &consumer{file: &manifest.File{}, lock: &manifest.Lock{}}
	switch at := upwards(dir, "Cell.toml"); at {
	case "":
		if c.dir = upwards(dir, "go.mod"); c.dir == "" && anywhere {
			c.dir = dir
			return c, nil
		}
		if c.dir == "" {
			return nil, errors.New("build: no Cell.toml and no go.mod here or above: this is not the folder of a consumer")
		}
	default:
		c.dir, c.path = at, filepath.Join(at, "Cell.toml")
		data, err := readFile(c.path, manifest.MaxFileSize)
		if err != nil {
			return nil, err
		}
		if c.file, err = manifest.ParseFile(c.path, data); err != nil {
			return nil, err
		}
	}
	data, err := readFile(c.lockPath(), manifest.MaxLockSize)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	c.lock, err = manifest.ParseLock(c.lockPath(), data)
	return c, err
}

func (c *consumer) lockPath() string { return filepath.Join(c.dir, "Cell.lock") }

// names are those of the cells in Cell.toml, sorted.
func (c *consumer) names() []string {
	var out []string
	for name := range c.file.Cells {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Notes are what a person should know of Cell.toml, one line each.
func (b *Builder) Notes() []string { return b.consumer.file.Notes }

// upwards is the nearest folder, dir or above, that holds a file of that name; empty: none does.
func upwards(dir, name string) string {
	for {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("build: %s is no file of at most %d bytes", path, limit)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("build: %w", err)
	}
	return data, nil
}

// dependency is the cell that a request is for: a name in Cell.toml, or a repository with a tag.
func (b *Builder) dependency(q Request) (manifest.Dependency, error) {
	arg := q.Cell
	if manifest.CheckName(arg) != nil {
		dep, err := b.repository(arg)
		dep.Policy.AllowOpen = dep.Policy.AllowOpen || q.AllowOpen
		return dep, err
	}
	if dep, ok := b.consumer.file.Cells[arg]; ok {
		return dep, nil
	}
	if b.consumer.path == "" {
		return manifest.Dependency{}, fmt.Errorf("build: cell %q: there is no Cell.toml here or above: write one with [cell.%[1]s], git and tag, or name the cell as host/path@tag", arg)
	}
	return manifest.Dependency{}, fmt.Errorf("build: %s names no cell %q: add [cell.%[2]s] with git and tag", b.consumer.path, arg)
}

func (b *Builder) repository(arg string) (manifest.Dependency, error) {
	cell, err := manifest.ParseCell(arg)
	if err != nil {
		return manifest.Dependency{}, err
	}
	url, _, err := manifest.SplitCell(arg)
	if err != nil {
		return manifest.Dependency{}, err
	}
	if url == cell.Repository {
		url = cell.URL()
	}
	if err := manifest.FetchURL(url); err != nil {
		return manifest.Dependency{}, err
	}
	dep := manifest.Dependency{Name: localName(cell), Git: url, Tag: cell.Tag, Cell: cell}
	if named, ok := b.consumer.file.Cells[dep.Name]; ok {
		if named.Cell != cell {
			return dep, fmt.Errorf("build: %s calls another cell %q (%s): give %s a name of its own there", b.consumer.path, dep.Name, named.Cell, cell)
		}
		return named, nil
	}
	return dep, nil
}

// localName is what a cell named by its repository is called: the last part of the path, as far as a name may have it.
func localName(cell manifest.Cell) string {
	base := []byte(filepath.Base(cell.Repository))
	name := base[:0]
	for _, c := range base {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || len(name) > 0 && (c == '-' || c == '_' || c == '.') {
			if c == '_' || c == '.' {
				c = '-'
			}
			name = append(name, c)
		}
	}
	if len(name) == 0 {
		return "cell"
	}
	return string(name[:min(len(name), manifest.MaxNameSize)])
}

// withTimeout bounds the survey of one cell.
func (b *Builder) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, b.cfg.SurveyTimeout)
}
