package manifest

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// tree is one decoded file, TOML or JSON, and the first thing found wrong with it. Readers go on after a problem with
// zero values, so that they need no error handling of their own, and ask failed at the end.
type tree struct {
	file   string
	lineOf func(*node) int // 0: not known
	err    *FileError
}

// node is one value of a tree. It is never nil: a key that is not there gives a node whose value is nil.
type node struct {
	tree   *tree
	parent *node
	key    string   // in the parent; "[3]" for an element
	at     int      // byte offset, JSON only
	value  any      // nil, string, int64, float64, bool, time.Time, []*node or map[string]*node
	asked  []string // the keys that the reader knows, for refuseUnknown
}

func (t *tree) failed() error {
	if t.err == nil {
		return nil
	}
	return t.err
}

// path is the dotted key path from the root, with keys quoted where TOML would.
func (n *node) path() string {
	if n.parent == nil {
		return ""
	}
	up, key := n.parent.path(), n.key
	if strings.HasPrefix(key, "[") {
		return up + key
	}
	if !isBareKey(key) {
		key = strconv.Quote(key)
	}
	if up == "" {
		return key
	}
	return up + "." + key
}

func isBareKey(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_') {
			return false
		}
	}
	return s != ""
}

// fail records the first problem of the file.
func (n *node) fail(format string, args ...any) {
	if n.tree.err != nil {
		return
	}
	n.tree.err = &FileError{File: n.tree.file, Line: n.line(), Key: n.path(), Problem: fmt.Sprintf(format, args...)}
}

// line is the line of the nearest value that has one.
func (n *node) line() int {
	for ; n != nil; n = n.parent {
		if n.value == nil && n.parent != nil {
			continue
		}
		if line := n.tree.lineOf(n); line > 0 {
			return line
		}
	}
	return 0
}

func (n *node) present() bool { return n.value != nil }

func (n *node) kind() string {
	switch n.value.(type) {
	case nil:
		return "missing"
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a number"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date"
	case []*node:
		return "an array"
	}
	return "a table"
}

// child is the value under key, which thereby counts as known.
func (n *node) child(key string) *node {
	if !slices.Contains(n.asked, key) {
		n.asked = append(n.asked, key)
	}
	if m, ok := n.value.(map[string]*node); ok {
		if c := m[key]; c != nil {
			return c
		}
	}
	return &node{tree: n.tree, parent: n, key: key}
}

// peek is child without making the key known.
func (n *node) peek(key string) *node {
	m, _ := n.value.(map[string]*node)
	return m[key]
}

// table is child, which must be a table or missing.
func (n *node) table(key string) *node {
	c := n.child(key)
	if _, ok := c.value.(map[string]*node); c.present() && !ok {
		c.fail("is %s; write a table", c.kind())
	}
	return c
}

// keys are the keys of a table, sorted.
func (n *node) keys() []string {
	m, _ := n.value.(map[string]*node)
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// refuseUnknown is called when a reader has asked for all that it knows.
func (n *node) refuseUnknown() {
	for _, key := range n.keys() {
		if !slices.Contains(n.asked, key) {
			n.peek(key).failUnknown(n.asked)
			return
		}
	}
}

func (n *node) failUnknown(known []string) {
	if best := nearest(n.key, known); best != "" {
		n.fail("is not a known key; did you mean %s?", best)
		return
	}
	n.fail("is not a known key; known here are %s", strings.Join(slices.Sorted(slices.Values(known)), ", "))
}

func quoteList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}
