package manifest

import (
	"strings"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// idDomain separates a cell's key from every other use of SHA-256. Frozen.
const idDomain = "cell/id/v1"

// Cell names one cell: a repository at a tag. The zero value names nothing. Cells are comparable.
type Cell struct {
	Repository string // canonical, see CanonicalRepository
	Tag        string // one exact tag, see CheckTag
}

// NewCell canonicalises url and checks both parts. The error is a *NameError.
func NewCell(url, tag string) (Cell, error) {
	repository, err := CanonicalRepository(url)
	if err != nil {
		return Cell{}, err
	}
	if err := CheckTag(tag); err != nil {
		return Cell{}, err
	}
	if strings.HasPrefix(repository, "file:") && strings.Contains(tag, "@") {
		return Cell{}, &NameError{"tag", tag, "has an @, which a repository on disk cannot have in its tags"}
	}
	return Cell{Repository: repository, Tag: tag}, nil
}

// ParseCell reads a cell argument: host/path@tag, URL@tag, git@host:path@tag or /path@tag. It undoes Cell.String.
func ParseCell(arg string) (Cell, error) {
	url, tag, err := SplitCell(arg)
	if err != nil {
		return Cell{}, err
	}
	return NewCell(url, tag)
}

// SplitCell cuts a cell argument into the repository as it was written, which may be fetched from after FetchURL has
// passed it, and the tag. Neither part is checked.
func SplitCell(arg string) (url, tag string, err error) {
	at := tagSeparator(arg)
	if at < 0 {
		return "", "", &NameError{"cell", hidePassword(arg), "names no tag; write host/path@tag, such as github.com/acme/exchange@v1.3.0"}
	}
	return arg[:at], arg[at+1:], nil
}

// tagSeparator finds the @ before the tag, or -1. A tag may hold an @ (monorepos tag pkg@1.0.0) and the path of a
// hosted repository may not, so there it is the first behind the authority. A path on disk may, and its tags may not.
func tagSeparator(arg string) int {
	if isDisk(arg) {
		return strings.LastIndexByte(arg, '@')
	}
	start := authorityEnd(arg)
	if start < 0 {
		return -1
	}
	at := strings.IndexByte(arg[start:], '@')
	if at < 0 {
		return -1
	}
	return start + at
}

// authorityEnd is where user, host and, in a URL, port end: at the first / of a URL, at the first / or : of a short
// form, the colons of an IPv6 address aside. -1 when they do not end.
func authorityEnd(s string) int {
	if i := strings.Index(s, "://"); i >= 0 {
		i += len("://")
		if end := strings.IndexByte(s[i:], '/'); end >= 0 {
			return i + end
		}
		return -1
	}
	end := strings.IndexAny(s, "/:")
	open := strings.IndexByte(s, '[')
	if open < 0 || end >= 0 && end < open {
		return end
	}
	bracket := strings.IndexByte(s, ']')
	if bracket < 0 {
		return -1
	}
	if end = strings.IndexAny(s[bracket:], "/:"); end < 0 {
		return -1
	}
	return bracket + end
}

// ID is the key under which instances of the cell meet: CIDv1, codec raw, SHA-256 over
// "cell/id/v1" 0x00 repository 0x00 tag (the golden test freezes it).
func (c Cell) ID() cid.Cid {
	digest, err := mh.Sum([]byte(idDomain+"\x00"+c.Repository+"\x00"+c.Tag), mh.SHA2_256, -1)
	if err != nil {
		panic("manifest: sha2-256 is not registered: " + err.Error())
	}
	return cid.NewCidV1(cid.Raw, digest)
}

// String is repository@tag.
func (c Cell) String() string { return c.Repository + "@" + c.Tag }

// IsZero reports whether c names nothing.
func (c Cell) IsZero() bool { return c == Cell{} }

// URL is the address to fetch the repository from when nothing better is known: https://repository, or the path of a
// repository on disk.
func (c Cell) URL() string {
	if path, ok := strings.CutPrefix(c.Repository, "file:"); ok {
		return path
	}
	return "https://" + c.Repository
}
