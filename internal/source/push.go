package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// StaleError says that somebody else has written something since it was read. Read it again, and push what then follows.
type StaleError struct {
	URL  string
	What string // the seed list, or the trust document
}

// Error says what happened.
func (e *StaleError) Error() string {
	return fmt.Sprintf("source: %s of %s was changed meanwhile; nothing was written", e.What, e.URL)
}

// RefusedError says that a repository's host does not let us write what cellnode keeps there.
type RefusedError struct {
	URL  string
	What string // the seed list, or the trust document
	Refs []string
	Err  error // what git said
}

// Error names the repository, what git said, and who may write.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("source: %s does not take %s: %v; writing %s or the branch %s needs push rights, as a deploy key has",
		e.URL, e.What, e.Err, e.Refs[0], strings.TrimPrefix(e.Refs[1], "refs/heads/"))
}

// Unwrap is what git said.
func (e *RefusedError) Unwrap() error { return e.Err }

// PublishedSeeds is the seed list that the repository's ref carries for a cell, as it is now, and the object that the ref
// is at, "" without a ref. The list is nil where there is none for this tag, or where what is there cannot be read: a
// damaged list is replaced.
func (s *Source) PublishedSeeds(ctx context.Context, url string, cell manifest.Cell) (list *manifest.SeedList, at string, err error) {
	r, err := s.ask(ctx, url, cell.Tag)
	if err != nil || r.seeds.object == "" {
		return nil, "", err
	}
	names := []string{cell.Tag + "/" + seedFiles[0]}
	list, err = s.seedsAt(ctx, url, cell, place{r.seeds.ref, r.seeds.object, everything, names}, s.identities(ctx, url, cell))
	if isContent(err) {
		s.cfg.Log.Warn("the published seed list cannot be read and will be replaced", "cell", cell.String(), "err", err)
		err = nil
	}
	return list, r.seeds.object, err
}

// PushSeeds writes the seed list of a cell to its repository: as TAG/instances.json in a commit without parents at
// refs/cell/seeds or, where the host refuses such a ref, at the branch cell/seeds. Lists of other tags stay. It is a
// compare-and-swap: at is what PublishedSeeds returned, and if the ref has moved since, the error is a *StaleError; if the
// host refuses, a *RefusedError. Which credentials git uses is the user's affair, as with any push.
func (s *Source) PushSeeds(ctx context.Context, url string, cell manifest.Cell, list *manifest.SeedList, at string) error {
	data, err := list.Marshal()
	if err != nil {
		return err
	}
	return s.push(ctx, url, cell, seedsCarrier, map[string][]byte{cell.Tag + "/" + seedFiles[0]: data}, at)
}

// push puts files into what a carrier carries, as long as that is still the object at.
func (s *Source) push(ctx context.Context, url string, cell manifest.Cell, c *carrier, files map[string][]byte, at string) error {
	if err := manifest.FetchURL(url); err != nil {
		return err
	}
	r, err := s.askFor(ctx, url, cell.Tag, c)
	if err != nil {
		return err
	}
	p := &publication{carrier: c, now: r.of(c), repository: &repository{s: s, url: url, dir: filepath.Join(s.cfg.CacheDir, "git", repositoryID(cell.Repository)+"-push")}}
	if p.now.object != at {
		return p.stale()
	}
	if err := os.MkdirAll(filepath.Dir(p.dir), 0o700); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	unlock, err := lockFile(ctx, p.dir+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	p.remove() // nothing in it is worth a second look
	defer p.remove()
	commit, err := p.write(ctx, r.commit, files)
	if err != nil {
		return err
	}
	return p.push(ctx, commit)
}

// publication is a repository that lives for one push.
type publication struct {
	*carrier
	*repository
	now carried
}

func (p *publication) stale() error { return &StaleError{shown(p.url), p.what} }

// write makes the commit: the tree that the ref has now with some files in another version.
func (p *publication) write(ctx context.Context, tagged string, files map[string][]byte) (string, error) {
	object := cmp.Or(p.now.object, tagged, strings.Repeat("0", 40)) // the last of an empty repository
	if err := p.open(ctx, format(object), false); err != nil {
		return "", unreachable(p.url, err)
	}
	if p.now.object != "" {
		if _, err := p.fetch(ctx, p.now.ref, p.refs[0], everything); err != nil {
			return "", unreachable(p.url, err)
		}
		if _, err := p.plumb(ctx, nil, "read-tree", p.refs[0]); err != nil {
			return "", err
		}
	}
	for path, data := range files {
		blob, err := p.plumb(ctx, data, "hash-object", "-w", "--stdin")
		if err != nil {
			return "", err
		}
		if _, err := p.plumb(ctx, nil, "update-index", "--add", "--cacheinfo", "100644,"+blob+","+path); err != nil {
			return "", err
		}
	}
	tree, err := p.plumb(ctx, nil, "write-tree")
	if err != nil {
		return "", err
	}
	return p.plumb(ctx, []byte(p.message), "commit-tree", tree)
}

// plumb runs a git command on an index of its own and returns the name of the object that it prints.
func (p *publication) plumb(ctx context.Context, in []byte, args ...string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, p.s.cfg.Timeout)
	defer cancel()
	cmd, words := p.s.command(bounded, p.url, p.dir, args...)
	cmd.Env = append(cmd.Env, "GIT_INDEX_FILE="+filepath.Join(p.dir, "index"),
		"GIT_AUTHOR_NAME=cellnode", "GIT_AUTHOR_EMAIL=cellnode", "GIT_COMMITTER_NAME=cellnode", "GIT_COMMITTER_EMAIL=cellnode")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		return "", p.s.failure(ctx, bounded, p.url, args[0], words, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// push moves the ref, if it is still where it was read. What is new goes to the carrier's own ref, else to its branch.
func (p *publication) push(ctx context.Context, commit string) error {
	names := []string{p.now.ref}
	if p.now.object == "" {
		names = p.refs
	}
	var refused error
	for _, name := range names {
		_, words, err := p.s.run(ctx, p.url, p.dir, "push", "--quiet", "--no-verify", "--no-signed", "--no-follow-tags",
			"--recurse-submodules=no", "--force-with-lease="+name+":"+p.now.object, "--", "cell", commit+":"+name)
		if !isGit(err) {
			return err
		}
		why := words.rejection()
		if strings.Contains(why, "stale info") || strings.Contains(why, "cannot lock ref") || strings.Contains(why, "already exists") {
			return p.stale()
		}
		if refused = err; why != "" {
			refused = errors.New(why)
		}
	}
	return &RefusedError{shown(p.url), p.what, p.refs, refused}
}
