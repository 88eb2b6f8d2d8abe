package manifest

import (
	"math"
	"slices"
	"time"
)

// elements are the elements of an array; more than limit is a problem.
func (n *node) elements(key string, limit int) []*node {
	c := n.child(key)
	list, ok := c.value.([]*node)
	switch {
	case c.present() && !ok:
		c.fail("is %s; write an array", c.kind())
	case len(list) > limit:
		c.fail("has %d elements; at most %d are read", len(list), limit)
		return nil
	}
	return list
}

// asText is the node itself as a string.
func (n *node) asText(limit int) string {
	s, ok := n.value.(string)
	switch {
	case n.present() && !ok:
		n.fail("is %s; write a string", n.kind())
	case len(s) > limit:
		n.fail("is longer than %d bytes", limit)
		return ""
	}
	return s
}

// text is the string under key, at most limit bytes, on one line; missing gives "".
func (n *node) text(key string, limit int) string {
	c := n.child(key)
	s := c.asText(limit)
	if p := textProblem(s); p != "" {
		c.fail("%s", p)
		return ""
	}
	return s
}

// texts is the array of strings under key. It is nil only when the key is missing.
func (n *node) texts(key string, count, limit int) []string {
	if !n.child(key).present() {
		return nil
	}
	list := n.elements(key, count)
	out := make([]string, 0, len(list))
	for _, e := range list {
		s := e.asText(limit)
		if p := textProblem(s); p != "" {
			e.fail("%s", p)
		}
		out = append(out, s)
	}
	return out
}

// oneOf is the string under key, which must be one of the words, or missing.
func (n *node) oneOf(key string, words ...string) string {
	s := n.text(key, 64)
	if c := n.child(key); c.present() && !slices.Contains(words, s) {
		c.fail("is %q; write one of %s", s, quoteList(words))
		return ""
	}
	return s
}

// integer is the whole number under key, and whether it is there.
func (n *node) integer(key string, min, max int64) (int64, bool) {
	c := n.child(key)
	i, ok := c.value.(int64)
	switch {
	case c.present() && !ok:
		c.fail("is %s; write a whole number", c.kind())
	case ok && (i < min || i > max):
		c.fail("is %d; write %d to %d", i, min, max)
		return 0, false
	}
	return i, ok
}

// number is the number under key, whole or not; missing gives 0.
func (n *node) number(key string, min, max float64) float64 {
	c := n.child(key)
	f, ok := c.value.(float64)
	if i, whole := c.value.(int64); whole {
		f, ok = float64(i), true
	}
	switch {
	case c.present() && !ok:
		c.fail("is %s; write a number", c.kind())
	case ok && (math.IsNaN(f) || f < min || f > max):
		c.fail("is %v; write %v to %v", f, min, max)
		return 0
	}
	return f
}

// boolean is the truth value under key; missing gives false.
func (n *node) boolean(key string) bool {
	c := n.child(key)
	b, ok := c.value.(bool)
	if c.present() && !ok {
		c.fail("is %s; write true or false", c.kind())
	}
	return b
}

// duration reads "1.5s" as time.ParseDuration does; missing gives 0.
func (n *node) duration(key string, min, max time.Duration) time.Duration {
	s := n.text(key, 32)
	c := n.child(key)
	if !c.present() || n.tree.err != nil {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		c.fail(`is %q; write a time with its unit, such as "5s" or "500ms"`, s)
		return 0
	}
	if d < min || d > max {
		c.fail("is %v; write %v to %v", d, min, max)
		return 0
	}
	return d
}
