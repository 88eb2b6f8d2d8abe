package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// repository is a bare repository in the cache: what was fetched from one canonical repository, nothing checked out.
type repository struct {
	s   *Source
	url string
	dir string
}

// repositoryID is the name of a canonical repository in the cache.
func repositoryID(canonical string) string {
	sum := sha256.Sum256([]byte(canonical))
	return hex.EncodeToString(sum[:16])
}

// read fetches ref, which is expected to be at object, and hands the objects to fn. It holds the cached repository for
// itself meanwhile.
//
// With files, the first attempt leaves files out and fetches the few that are read; a host that cannot filter sends
// everything at once. If an attempt fails, the next starts from nothing and fetches the commit whole. Faults of the
// content, limits and the caller's own end are not tried again.
func (s *Source) read(ctx context.Context, url, canonical, ref, object string, how filter, fn func(*objects) error) error {
	r := &repository{s: s, url: url, dir: filepath.Join(s.cfg.CacheDir, "git", repositoryID(canonical)+"-"+format(object))}
	if err := os.MkdirAll(filepath.Dir(r.dir), 0o700); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	unlock, err := lockFile(ctx, r.dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	for _, rung := range []rung{{partial: true, filter: how}, {}} {
		if err = r.attempt(ctx, ref, object, rung, fn); !isGit(err) {
			return err
		}
		s.cfg.Log.Debug("fetching whole", "url", shown(url), "ref", ref, "err", err)
		r.remove()
	}
	return unreachable(url, err)
}

// filter says what a fetch leaves out.
type filter bool

const (
	everything   filter = false
	withoutFiles filter = true
)

// rung is one step of the ladder.
type rung struct {
	partial bool // the cached repository may lack objects, and git fetches what it misses
	filter  filter
}

// errMovedMeanwhile says that a ref was not where its host had just said.
var errMovedMeanwhile = errors.New("it moved while it was read; try again")

func isGit(err error) bool {
	var ge *gitError
	return errors.As(err, &ge)
}

func format(object string) string {
	if len(object) == 64 {
		return "sha256"
	}
	return "sha1"
}

func (r *repository) remove() { _ = os.RemoveAll(r.dir) } // what cannot be removed fails at the next use

// attempt is one step. Whatever fails while the cache is being written takes the cached repository with it,
// so that no half-written pack stays behind.
func (r *repository) attempt(ctx context.Context, ref, object string, how rung, fn func(*objects) error) error {
	if err := r.open(ctx, format(object), how.partial); err != nil {
		return err
	}
	watched, stop := r.watch(ctx)
	local := "refs/cell/at/" + object
	filtered, err := r.fetch(watched, ref, local, how.filter)
	if err == nil {
		err = r.s.session(watched, r.url, r.dir, local, func(o *objects) error {
			if o.commit != object {
				return errMovedMeanwhile
			}
			if filtered {
				o.fetch = func(wanted []string) error { return r.fetchObjects(watched, wanted) }
			}
			return fn(o)
		})
	}
	if grown := stop(); grown { // whatever else was found in it
		err = r.s.tooLarge(r.url)
	}
	if errors.Is(err, errMovedMeanwhile) {
		err = &UnreachableError{URL: shown(r.url), Err: err}
	}
	var limit *LimitError
	if errors.As(err, &limit) || errors.Is(err, errMovedMeanwhile) || ctx.Err() != nil {
		r.remove()
	}
	return err
}

// open makes the repository where it is missing, and writes its configuration anew: the address may be another mirror,
// and nothing that a fetch could have left there counts.
func (r *repository) open(ctx context.Context, format string, partial bool) error {
	if _, err := os.Stat(filepath.Join(r.dir, "HEAD")); err != nil {
		r.remove()
		temp := r.dir + ".new"
		if err := os.RemoveAll(temp); err != nil {
			return fmt.Errorf("source: %w", err)
		}
		if _, err := r.s.git(ctx, r.url, "", "init", "--quiet", "--bare", "--object-format="+format, "--", temp); err != nil {
			return err
		}
		if err := os.Rename(temp, r.dir); err != nil {
			return fmt.Errorf("source: %w", err)
		}
	}
	return manifest.WriteFile(filepath.Join(r.dir, "config"), []byte(config(r.url, format, partial)), 0o600)
}

// config is the whole configuration of a cached repository. The remote has a name of its own because settings for
// "origin" are common in people's global configuration.
func config(url, format string, partial bool) string {
	var b strings.Builder
	b.WriteString("[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectFormat = " + format + "\n")
	if partial {
		b.WriteString("\tpartialClone = cell\n")
	}
	b.WriteString("[remote \"cell\"]\n\turl = " + quoteConfig(url) + "\n\ttagOpt = --no-tags\n")
	if partial {
		b.WriteString("\tpromisor = true\n\tpartialCloneFilter = blob:none\n")
	}
	return b.String()
}

// quoteConfig is a value in a git configuration file. FetchURL has refused control characters.
func quoteConfig(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// fetch brings one ref in, under a name of ours, unless it is there already. filtered is false when the host has sent
// everything all the same.
func (r *repository) fetch(ctx context.Context, ref, local string, leave filter) (filtered bool, err error) {
	if _, err := os.Stat(filepath.Join(r.dir, filepath.FromSlash(local))); err == nil {
		return bool(leave), nil
	}
	option := "--no-filter"
	if leave == withoutFiles {
		option = "--filter=blob:none"
	}
	_, words, err := r.s.run(ctx, r.url, r.dir, "fetch", "--quiet", "--depth=1", option, "--no-tags", "--no-write-fetch-head",
		"--no-auto-maintenance", "--no-recurse-submodules", "--force", "--", "cell", "+"+ref+":"+local)
	return bool(leave) && !strings.Contains(string(words.b), "filtering not recognized"), err
}

// fetchObjects brings objects in by name, as git itself does for one that it misses.
func (r *repository) fetchObjects(ctx context.Context, wanted []string) error {
	args := []string{
		"-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--filter=blob:none", "--no-tags",
		"--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules", "--", "cell",
	}
	_, err := r.s.git(ctx, r.url, r.dir, append(args, wanted...)...)
	return err
}
