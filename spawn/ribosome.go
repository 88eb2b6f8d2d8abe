package spawn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// Defaults of a RibosomeConfig.
const (
	DefaultBuildTimeout = 5 * time.Minute
	DefaultBuildMemory  = 3 << 30 // bytes, files under way among them
	DefaultBuildDisk    = 1 << 30 // bytes
	defaultBuildPids    = 1024
)

// RibosomeConfig says how cells are built. Cache and Source are required.
type RibosomeConfig struct {
	Cache    *Cache
	Source   *source.Source
	Home     *home.Dir                      // that knows trust documents; nil: none
	Go       string                         // the go command; empty: "go" on the PATH
	Timeout  time.Duration                  // for fetching modules, and for compiling, each; 0: 5 minutes
	Limits   sandbox.Limits                 // of a build; zero fields: 3 GiB of memory, 1 GiB of disk, 1024 processes
	Open     bool                           // build without a sandbox: the policy's sandbox = "none"
	Progress func(step string, cell string) // called when a step of a build begins: "fetch", "modules", "library", "compile". Nil: silent
	Log      *slog.Logger                   // nil: silent
}

func (c RibosomeConfig) withDefaults() RibosomeConfig {
	if c.Timeout == 0 {
		c.Timeout = DefaultBuildTimeout
	}
	if c.Limits.Memory == 0 {
		c.Limits.Memory = DefaultBuildMemory
	}
	if c.Limits.Disk == 0 {
		c.Limits.Disk = DefaultBuildDisk
	}
	if c.Limits.Pids == 0 {
		c.Limits.Pids = defaultBuildPids
	}
	if c.Progress == nil {
		c.Progress = func(string, string) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Ribosome builds binaries of cells. It is safe for concurrent use, by processes too: of several that want the same
// build one makes it, and the others wait and take it.
type Ribosome struct{ cfg RibosomeConfig }

// NewRibosome checks the settings. A Ribosome holds nothing open, so it needs no closing.
func NewRibosome(c RibosomeConfig) (*Ribosome, error) {
	switch c = c.withDefaults(); {
	case c.Cache == nil || c.Source == nil:
		return nil, errors.New("spawn: a ribosome needs a cache and a source")
	case c.Timeout < 0:
		return nil, fmt.Errorf("spawn: Timeout is %v", c.Timeout)
	}
	return &Ribosome{c}, nil
}

// Recipe is what to build: a commit of a cell's repository, and how its Cell.toml says.
type Recipe struct {
	URL    string // to fetch from; one that manifest.FetchURL passes
	Cell   manifest.Cell
	Commit string // hex; the tag must be at it
	Dir    string // a working tree to build in place of the commit, which is then filled in with a hash of its files
	Build  manifest.Build
	Trust  *manifest.Trust // whose binaries may be taken; nil: nobody's
	Binary string          // BinaryVerify, BinaryRebuild or BinarySourceOnly; empty: BinaryVerify
}

// recipeVersion changes with the way in which binaries are built.
const recipeVersion = "cell/build/v1"

// key is the hash of all that a binary depends on. The commit stands for the content of the repository.
func (r Recipe) key(tools toolchain) string {
	what := []any{recipeVersion, r.Commit, r.Build, tools.version, runtime.GOOS, runtime.GOARCH}
	if r.Binary == BinaryRebuild { // what is found under such a key has been compared
		what = append(what, r.Binary, r.Trust)
	}
	data, err := json.Marshal(what)
	if err != nil {
		panic(err) // strings and numbers alone
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Build returns the binary of a recipe: from the cache, in milliseconds, or as its publishers offer it, or built now. An error is ErrNoSandbox, a
// *BuildError, one of source's, or ctx's; the cache is as it was then.
func (r *Ribosome) Build(ctx context.Context, recipe Recipe) (Artifact, error) {
	var tree string
	if recipe.Dir != "" {
		var err error
		if tree, recipe.Commit, err = r.snapshot(recipe.Dir); err != nil {
			return Artifact{}, err
		}
		defer os.RemoveAll(tree)
		recipe.Trust = nil // nobody has signed that
	}
	tools, toolsErr := findToolchain(ctx, r.cfg.Go)
	key := recipe.key(tools)
	if a, ok := r.cfg.Cache.lookup(key); ok && toolsErr == nil {
		return a, nil
	}
	if a, ok := r.signed(ctx, recipe); ok {
		return a, nil
	}
	if toolsErr != nil {
		return Artifact{}, toolsErr
	}
	if !r.cfg.Open && !sandbox.Probe().Enough() {
		return Artifact{}, ErrNoSandbox
	}
	if err := r.cfg.Cache.makeDirs(); err != nil {
		return Artifact{}, err
	}
	lock, err := lockFile(ctx, r.cfg.Cache.path("builds", key+".lock"))
	if err != nil {
		return Artifact{}, err
	}
	defer lock.Close()
	if a, ok := r.cfg.Cache.lookup(key); ok { // built by another meanwhile
		return a, nil
	}
	j := &job{cfg: r.cfg, recipe: recipe, tree: tree, tools: tools, dir: r.cfg.Cache.path("tmp", key)}
	return j.run(ctx, r, Artifact{
		Key: key, Repository: recipe.Cell.Repository, Tag: recipe.Cell.Tag, Commit: recipe.Commit,
		OS: runtime.GOOS, Arch: runtime.GOARCH, Toolchain: tools.version,
	})
}

// snapshot copies a working tree into the cache, since its owner may go on to write in it.
func (r *Ribosome) snapshot(dir string) (tree, hash string, err error) {
	if err := r.cfg.Cache.makeDirs(); err != nil {
		return "", "", err
	}
	if tree, err = os.MkdirTemp(r.cfg.Cache.path("tmp"), "tree-"); err != nil {
		return "", "", fmt.Errorf("spawn: %w", err)
	}
	if err = os.Chmod(tree, 0o755); err == nil {
		hash, err = snapshot(dir, tree)
	}
	if err != nil {
		_ = os.RemoveAll(tree)
	}
	return tree, hash, err
}

// job is one build.
type job struct {
	tree   string // the copy of a working tree, which becomes src; empty: the commit's files do
	cfg    RibosomeConfig
	recipe Recipe
	tools  toolchain
	dir    string // its own, below the cache's tmp
}

// boxName names the sandbox of builds.
const boxName = "ribosome"

func (j *job) path(elem ...string) string { return filepath.Join(append([]string{j.dir}, elem...)...) }

func (j *job) run(ctx context.Context, r *Ribosome, a Artifact) (Artifact, error) {
	if err := os.RemoveAll(j.dir); err != nil { // of a build that was killed
		return a, fmt.Errorf("spawn: %w", err)
	}
	defer os.RemoveAll(j.dir)
	begun := time.Now()
	if err := j.fetch(ctx); err != nil {
		return a, err
	}
	out, err := os.OpenFile(j.path("binary"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return a, fmt.Errorf("spawn: %w", err)
	}
	defer out.Close()
	if err := j.make(ctx, out); err != nil {
		return a, err
	}
	sum, _, err := hashFile(out.Name())
	if err == nil {
		err = j.compare(ctx, r, sum)
	}
	if err != nil {
		return a, err
	}
	if a, err = j.cfg.Cache.publish(out, a); err == nil {
		j.cfg.Log.Info("built", "cell", j.recipe.Cell.String(), "commit", a.Commit, "sha256", a.SHA256, "took", time.Since(begun))
	}
	return a, err
}

// fetch writes the commit's files, for the build's user to read.
func (j *job) fetch(ctx context.Context) error {
	j.cfg.Progress("fetch", j.recipe.Cell.String())
	src := j.path("src")
	for _, dir := range []string{src, j.path("scratch")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("spawn: %w", err)
		}
	}
	if j.tree != "" {
		if err := errors.Join(os.Remove(src), os.Rename(j.tree, src)); err != nil {
			return fmt.Errorf("spawn: %w", err)
		}
		return give(j.dir)
	}
	leftOut, err := j.cfg.Source.Export(ctx, j.recipe.URL, j.recipe.Cell.Tag, j.recipe.Commit, src)
	if err != nil {
		return err
	}
	if len(leftOut) > 0 {
		j.cfg.Log.Warn("left out of the build, for it is no plain file", "cell", j.recipe.Cell.String(), "paths", leftOut)
	}
	return give(j.dir)
}

// give hands a folder and all in it to the user that builds, where that is another one.
func give(dir string) error {
	uid, gid := sandbox.User(boxName)
	if uid == os.Geteuid() {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// failed makes an error of how a step ended.
func (j *job) failed(step, reason, output string) error {
	src := j.path("src")
	output = strings.ReplaceAll(strings.ReplaceAll(output, src+"/", ""), src, "its root")
	return &BuildError{Cell: j.recipe.Cell.String(), Step: step, Reason: reason, Output: output}
}
