package spawn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// Cache holds binaries. It is content-addressed: a binary lies under the SHA-256 of its bytes, and a build, named by the
// hash of all that went into it, points at one. Several processes may share it; whatever dies at whatever moment, what
// is in it is whole.
//
//	builds/KEY.json   an Artifact; KEY.lock is held while it is built
//	bin/XX/SHA256     the binary, 0555
//	tmp/              builds under way; what is left of killed ones goes with the next build or Prune
//	go/               the Go toolchain's own caches, for modules and the standard library
type Cache struct{ dir string }

// Artifact is a binary in the cache.
type Artifact struct {
	Key        string    `json:"key"`        // of the build, hex
	Repository string    `json:"repository"` // canonical
	Tag        string    `json:"tag"`
	Commit     string    `json:"commit"`
	OS         string    `json:"os"`   // GOOS
	Arch       string    `json:"arch"` // GOARCH
	Toolchain  string    `json:"toolchain"`
	SHA256     string    `json:"sha256"`
	Size       int64     `json:"size"` // bytes
	Built      time.Time `json:"built"`
	Signed     []byte    `json:"signed,omitempty"` // the publishers' manifest of it; empty: it was built here
	Path       string    `json:"path"`             // where the binary lies; made on reading
	Used       time.Time `json:"used"`             // last; made on reading
	Hit        bool      `json:"hit"`              // it was there; made on reading
}

// OpenCache opens the cache in dir, and makes it (0700) where it is missing.
func OpenCache(dir string) (*Cache, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	if err := (&Cache{dir}).makeDirs(); err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	return &Cache{dir}, nil
}

// makeDirs makes the folders that are missing: a cache may be deleted while a node that uses it runs.
func (c *Cache) makeDirs() error {
	for _, sub := range []string{"builds", "bin", "tmp", "go"} {
		if err := os.MkdirAll(c.path(sub), 0o700); err != nil {
			return fmt.Errorf("spawn: %w", err)
		}
	}
	return nil
}

// Dir is where the cache lies.
func (c *Cache) Dir() string { return c.dir }

var isHash = regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString

func (c *Cache) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

func (c *Cache) binary(sum string) string { return c.path("bin", sum[:2], sum) }

// maxIndex bounds a builds/KEY.json, in bytes.
const maxIndex = 64 << 10

// lookup reads the index of one build. What is missing or damaged was never there.
func (c *Cache) lookup(key string) (Artifact, bool) {
	path := c.path("builds", key+".json")
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxIndex {
		return Artifact{}, false
	}
	data, err := os.ReadFile(path)
	var a Artifact
	if err != nil || json.Unmarshal(data, &a) != nil || a.Key != key || !isHash(a.SHA256) {
		return Artifact{}, false
	}
	a.Path, a.Used, a.Hit = c.binary(a.SHA256), info.ModTime(), true
	bin, err := os.Stat(a.Path)
	return a, err == nil && bin.Size() == a.Size
}

// Check hashes the binary of a. It must be called before each start; a damaged binary is removed and a *DamagedError.
func (c *Cache) Check(a Artifact) error {
	have, _, err := hashFile(a.Path)
	if err != nil {
		return err
	}
	if have != a.SHA256 {
		if err := os.Remove(a.Path); err != nil {
			return fmt.Errorf("spawn: %w", err)
		}
		return &DamagedError{Path: a.Path, Want: a.SHA256, Have: have}
	}
	now := time.Now()
	_ = os.Chtimes(c.path("builds", a.Key+".json"), now, now) // when it was used last, for Prune
	return nil
}

func hashFile(path string) (sum string, size int64, err error) {
	file, err := os.Open(path)
	if err != nil {
		return "", 0, fmt.Errorf("spawn: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	if size, err = io.Copy(h, file); err != nil {
		return "", 0, fmt.Errorf("spawn: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// publish takes the binary in file into the cache, and then points the build at it. Each of the two is one rename, so
// readers see a whole build or none.
func (c *Cache) publish(file *os.File, a Artifact) (Artifact, error) {
	var err error
	if a.SHA256, a.Size, err = hashFile(file.Name()); err != nil {
		return a, err
	}
	if a.Size == 0 {
		return a, errors.New("spawn: the build made an empty file")
	}
	a.Path = c.binary(a.SHA256)
	if err := errors.Join(os.MkdirAll(filepath.Dir(a.Path), 0o700), file.Chmod(0o555), file.Sync()); err != nil {
		return a, fmt.Errorf("spawn: %w", err)
	}
	if err := os.Rename(file.Name(), a.Path); err != nil {
		return a, fmt.Errorf("spawn: %w", err)
	}
	if err := syncDir(filepath.Dir(a.Path)); err != nil {
		return a, fmt.Errorf("spawn: %w", err)
	}
	a.Built = time.Now().UTC().Round(time.Second)
	written := a
	written.Path, written.Used, written.Hit = "", time.Time{}, false
	data, err := json.MarshalIndent(written, "", "  ")
	if err == nil {
		err = manifest.WriteFile(c.path("builds", a.Key+".json"), append(data, '\n'), 0o600)
	}
	if err != nil {
		return a, fmt.Errorf("spawn: %w", err)
	}
	return a, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// List is every build in the cache, by repository, tag and system.
func (c *Cache) List() ([]Artifact, error) {
	names, err := os.ReadDir(c.path("builds"))
	if err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	list := []Artifact{}
	for _, n := range names {
		if key, ok := strings.CutSuffix(n.Name(), ".json"); ok && isHash(key) {
			if a, whole := c.lookup(key); whole {
				list = append(list, a)
			}
		}
	}
	slices.SortFunc(list, func(a, b Artifact) int { return strings.Compare(a.sortKey(), b.sortKey()) })
	return list, nil
}

func (a Artifact) sortKey() string {
	return strings.Join([]string{a.Repository, a.Tag, a.OS, a.Arch, a.Key}, "\x00")
}

// Verify hashes every binary, removes what is damaged and says what that was; the rest is whole.
func (c *Cache) Verify(ctx context.Context) (checked int, damaged []string, err error) {
	list, err := c.List()
	if err != nil {
		return 0, nil, err
	}
	for _, a := range list {
		if ctx.Err() != nil {
			return checked, damaged, context.Cause(ctx)
		}
		have, _, err := hashFile(a.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // one of the same bytes was damaged, and is gone
		}
		if err != nil {
			return checked, damaged, err
		}
		checked++
		if have != a.SHA256 {
			damaged = append(damaged, a.Path)
			if err := os.Remove(a.Path); err != nil {
				return checked, damaged, fmt.Errorf("spawn: %w", err)
			}
		}
	}
	return checked, damaged, nil
}

// Pruned is what Prune has removed.
type Pruned struct {
	Builds int   `json:"builds"`
	Bytes  int64 `json:"bytes"` // on disk
}

// Prune removes builds that were not used since before, with their binaries, and what killed processes have left. With
// all it removes the toolchain's caches as well. What is being built meanwhile is left alone.
func (c *Cache) Prune(before time.Time, all bool) (Pruned, error) {
	var p Pruned
	list, err := c.List()
	if err != nil {
		return p, err
	}
	kept := map[string]bool{}
	for _, a := range list {
		if a.Used.Before(before) {
			p.Builds++
			if err := os.Remove(c.path("builds", a.Key+".json")); err != nil {
				return p, fmt.Errorf("spawn: %w", err)
			}
			continue
		}
		kept[a.SHA256] = true
	}
	err = errors.Join(c.pruneBinaries(&p, kept), c.pruneTemporary(&p))
	if all {
		err = errors.Join(err, removeAll(&p, c.path("go")), os.MkdirAll(c.path("go"), 0o700))
	}
	return p, err
}

// young is the age up to which a binary may be one whose build is about to be published.
const young = time.Minute

func (c *Cache) pruneBinaries(p *Pruned, kept map[string]bool) error {
	binaries, err := filepath.Glob(c.path("bin", "*", "*"))
	if err != nil {
		return err
	}
	var failed error
	for _, path := range binaries {
		info, err := os.Stat(path)
		if err == nil && !kept[filepath.Base(path)] && (p.Builds > 0 || time.Since(info.ModTime()) > young) {
			failed = errors.Join(failed, removeAll(p, path))
		}
	}
	return failed
}

// pruneTemporary removes the folders of builds whose lock nobody holds.
func (c *Cache) pruneTemporary(p *Pruned) error {
	dirs, err := os.ReadDir(c.path("tmp"))
	if err != nil {
		return fmt.Errorf("spawn: %w", err)
	}
	var failed error
	for _, d := range dirs {
		lock, err := os.OpenFile(c.path("builds", d.Name()+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("spawn: %w", err)
		}
		if free, err := tryLock(lock); free && err == nil {
			failed = errors.Join(failed, removeAll(p, c.path("tmp", d.Name())))
		}
		lock.Close()
	}
	return failed
}

// removeAll removes path and counts what it held.
func removeAll(p *Pruned, path string) error {
	_ = filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			p.Bytes += info.Size()
		}
		return nil
	})
	return os.RemoveAll(path)
}
