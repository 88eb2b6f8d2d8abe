package source

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Config says where a Source keeps its cache and what it may spend. CacheDir is required.
type Config struct {
	CacheDir string       // folder of the cache; made with mode 0700. Several processes may share it
	HTTP     *http.Client // for hosts that speak cell+json; its redirects are narrowed. Nil: one of its own, without kept connections
	Git      string       // the git command; empty: "git" on the PATH
	Offline  bool         // open no network socket: only repositories on disk and the cache are read
	Log      *slog.Logger // nil: silent

	Timeout  time.Duration // for one git command; 0: 60 s
	HTTPWait time.Duration // for one GET, before git is asked instead; 0: 5 s
	MaxBytes int64         // bytes that one read may add to the cache on disk; 0: 64 MiB
	SeedTTL  time.Duration // age up to which a seed list is not asked for again; 0: 1 minute; negative: always ask
}

func (c Config) withDefaults() Config {
	if c.Git == "" {
		c.Git = "git"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Timeout == 0 {
		c.Timeout = 60 * time.Second
	}
	if c.HTTPWait == 0 {
		c.HTTPWait = 5 * time.Second
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 64 << 20
	}
	if c.SeedTTL == 0 {
		c.SeedTTL = time.Minute
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.CacheDir == "":
		return errors.New("source: CacheDir is empty")
	case c.Timeout < 0:
		return fmt.Errorf("source: Timeout is %v", c.Timeout)
	case c.HTTPWait < 0:
		return fmt.Errorf("source: HTTPWait is %v", c.HTTPWait)
	case c.MaxBytes < 0:
		return fmt.Errorf("source: MaxBytes is %d", c.MaxBytes)
	}
	return nil
}

// Source reads repositories. It is safe for concurrent use and needs no closing: every process and goroutine that it starts
// has ended when the call that started it returns.
type Source struct {
	cfg Config
	hub *hub
	now func() time.Time
}

// New prepares the cache folder, and refuses one that cannot be written. git itself is looked for when it is needed.
func New(c Config) (*Source, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(c.CacheDir)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	// git compares its working directory with GIT_CEILING_DIRECTORIES after resolving links.
	if c.CacheDir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	if err := writable(c.CacheDir); err != nil {
		return nil, err
	}
	return &Source{cfg: c, hub: newHub(c), now: time.Now}, nil
}

// writable makes a file and removes it: permissions alone do not tell of a file system that is read-only. The name is
// always the same, so that the next start clears away what a kill between the two has left.
func writable(dir string) error {
	path := filepath.Join(dir, ".writable")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	err = f.Close()
	if removed := os.Remove(path); !errors.Is(removed, fs.ErrNotExist) { // another start was as quick
		err = errors.Join(err, removed)
	}
	return err
}
