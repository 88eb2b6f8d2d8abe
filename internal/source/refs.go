package source

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
)

// A carrier is what cellnode itself keeps in a repository, in commits without parents: at a ref of its own or, where a host
// refuses refs outside heads and tags, at a branch.
type carrier struct {
	what    string // for people
	refs    []string
	message string // of the commits
}

var (
	seedsCarrier = &carrier{"the seed list", []string{"refs/cell/seeds", "refs/heads/cell/seeds"}, "cell: live instances\n"}
	trustCarrier = &carrier{"the trust document", []string{"refs/cell/trust", "refs/heads/cell/trust"}, "cell: publishers\n"}
)

// carried is where a repository carries something; zero: nowhere.
type carried struct{ ref, object string }

func (c *carrier) in(found map[string]string) carried {
	for _, ref := range c.refs {
		if object := found[ref]; object != "" {
			return carried{ref, object}
		}
	}
	return carried{}
}

// refs is what a repository's host answers to one question.
type refs struct {
	commit       string // that the tag is at, peeled; "" without such a tag
	seeds, trust carried
	more         carried // what was asked for besides
}

func (r refs) of(c *carrier) carried {
	switch c {
	case seedsCarrier:
		return r.seeds
	case trustCarrier:
		return r.trust
	}
	return r.more
}

// ask lists the refs that matter for a tag. It is always a fresh answer.
func (s *Source) ask(ctx context.Context, url, tag string) (refs, error) {
	return s.askFor(ctx, url, tag, &carrier{})
}

// askFor is ask, and where one more carrier is.
func (s *Source) askFor(ctx context.Context, url, tag string, more *carrier) (refs, error) {
	ref := "refs/tags/" + tag
	names := slices.Concat([]string{"ls-remote", "--quiet", "--", url, ref, ref + "^{}"}, seedsCarrier.refs, trustCarrier.refs, more.refs)
	out, err := s.git(ctx, url, "", names...)
	if err != nil {
		return refs{}, unreachable(url, err)
	}
	found := parseRefs(out) // patterns match at the end of names, so only exact names count
	return refs{cmp.Or(found[ref+"^{}"], found[ref]), seedsCarrier.in(found), trustCarrier.in(found), more.in(found)}, nil
}

// unreachable turns git's own failure into an *UnreachableError and leaves any other error as it is.
func unreachable(url string, err error) error {
	var ge *gitError
	if errors.As(err, &ge) {
		return &UnreachableError{URL: shown(url), Err: ge}
	}
	return err
}

// parseRefs reads lines of object, tab and name; it leaves out what is not that.
func parseRefs(out []byte) map[string]string {
	found := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\n") {
		object, name, ok := strings.Cut(line, "\t")
		if ok && isObject(object) {
			found[name] = object
		}
	}
	return found
}

// isObject accepts the names of SHA-1 and SHA-256 objects.
func isObject(s string) bool {
	for i := range len(s) {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f') {
			return false
		}
	}
	return len(s) == 40 || len(s) == 64
}

// noTag is the error for a tag that is not there, with those that are.
func (s *Source) noTag(ctx context.Context, url, tag string) error {
	e := &NoTagError{URL: shown(url), Tag: tag}
	out, err := s.git(ctx, url, "", "ls-remote", "--quiet", "--tags", "--refs", "--", url)
	if err != nil {
		return e // the tag is missing all the same
	}
	var tags []string
	for name := range parseRefs(out) {
		if t, ok := strings.CutPrefix(name, "refs/tags/"); ok {
			tags = append(tags, strings.Map(printable, t))
		}
	}
	slices.SortFunc(tags, func(a, b string) int {
		return cmp.Or(cmp.Compare(common(b, tag), common(a, tag)), strings.Compare(b, a))
	})
	e.Nearest = tags[:min(len(tags), 3)]
	return e
}

// common is the length of the common prefix.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
