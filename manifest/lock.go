package manifest

import (
	"fmt"
	"slices"
	"strings"
)

// lockVersion is the format of Cell.lock that this package reads and writes.
const lockVersion = 1

// Lock is a Cell.lock: what a consumer's build was made against. It is committed, so with every git host dead a client
// can still verify every grant.
type Lock struct {
	Cells []LockedCell // sorted by name, none twice
}

// LockedCell is one cell of a Cell.lock.
type LockedCell struct {
	Name        string
	Cell        Cell
	Git         string // where it was fetched from
	Commit      string // 40 or 64 hex digits
	Manifest    string // SHA-256 of the Cell.toml at the commit, 64 hex digits; empty: not known
	Fingerprint string // of the interface, 64 hex digits; empty: the cell declares none
	Trust       *LockedTrust
	Seeds       []Seed // sorted by peer, no peer twice
}

// maxDocument bounds a trust document in Cell.lock, in characters: base64 of the 32 KiB that one may have.
const maxDocument = 44 << 10

// LockedTrust is the newest trust of a cell that the consumer has seen. Nil: the cell was open.
type LockedTrust struct {
	Keys      []string // as FormatKey writes them
	Threshold int
	Version   uint64 // of the trust document; 0: the [trust] of Cell.toml
	Document  string // the trust document itself, on one line of base64, so that no older one is ever taken; empty: none
}

// Trust is what Cell.toml says, without the document.
func (t *LockedTrust) Trust() *Trust {
	if t == nil {
		return nil
	}
	return &Trust{Keys: t.Keys, Threshold: t.Threshold}
}

// Find is the locked cell of that local name.
func (l *Lock) Find(name string) (LockedCell, bool) {
	for _, c := range l.Cells {
		if c.Name == name {
			return c, true
		}
	}
	return LockedCell{}, false
}

// ParseLock decodes and checks a Cell.lock of at most MaxLockSize bytes. path is used in messages alone. The error is a
// *FileError.
func ParseLock(path string, data []byte) (*Lock, error) {
	root, err := parseTOML(path, data, MaxLockSize)
	if err != nil {
		return nil, err
	}
	version, ok := root.integer("version", 1, 1<<31)
	switch {
	case !ok:
		root.fail("has no version; it is not a Cell.lock")
	case version != lockVersion:
		root.child("version").fail("is %d; this cellnode reads version %d: update cellnode", version, lockVersion)
	}
	l := &Lock{}
	cells := root.table("cell")
	if names := cells.keys(); len(names) > MaxCells {
		cells.fail("names %d cells; at most %d are read", len(names), MaxCells)
	}
	for _, name := range cells.keys() {
		if root.tree.err != nil {
			break
		}
		l.Cells = append(l.Cells, readLocked(name, cells.table(name)))
	}
	root.refuseUnknown()
	if err := root.tree.failed(); err != nil {
		return nil, err
	}
	return l, nil
}

func readLocked(name string, n *node) LockedCell {
	c := LockedCell{
		Name:        name,
		Git:         n.text("git", MaxURLSize),
		Commit:      readHex(n, "commit", 40, 64),
		Manifest:    readHex(n, "manifest", 64),
		Fingerprint: readHex(n, "fingerprint", 64),
		Trust:       readLockedTrust(n.table("trust")),
		Seeds:       readSeeds(n, "seeds"),
	}
	c.Cell = readLockedCell(n)
	n.refuseUnknown()
	if problem := nameProblem(name); problem != "" {
		n.fail("%s", problem)
	}
	if c.Commit == "" {
		n.fail("has no commit; run cellnode build --update")
	}
	if err := FetchURL(c.Git); err != nil {
		n.child("git").fail("%s", problem(err))
	}
	return c
}

// readLockedCell takes the repository only in its canonical form: two spellings in a lock would be two cells in a diff.
func readLockedCell(n *node) Cell {
	repository := n.text("repository", MaxURLSize)
	cell, err := NewCell(repository, n.text("tag", MaxTagSize))
	if err != nil {
		n.fail("%s", strings.TrimPrefix(err.Error(), "manifest: "))
	} else if cell.Repository != repository {
		n.child("repository").fail("is not canonical; write %q", cell.Repository)
	}
	return cell
}

func readLockedTrust(n *node) *LockedTrust {
	if !n.present() {
		return nil
	}
	t := &LockedTrust{Keys: readKeys(n), Threshold: readThreshold(n)}
	version, _ := n.integer("version", 0, 1<<62)
	t.Version = uint64(version)
	t.Document = n.text("document", maxDocument)
	n.refuseUnknown()
	return t
}

// readHex reads lower-case hex digits of one of the lengths; missing gives "".
func readHex(n *node, key string, lengths ...int) string {
	s := n.text(key, 256)
	if c := n.child(key); c.present() && !isHex(s, lengths...) {
		c.fail("is not %s lower-case hex digits", strings.Trim(fmt.Sprint(lengths), "[]"))
		return ""
	}
	return s
}

func isHex(s string, lengths ...int) bool {
	for i := range len(s) {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f') {
			return false
		}
	}
	return slices.Contains(lengths, len(s))
}
