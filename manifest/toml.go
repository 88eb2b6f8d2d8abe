package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// parseTOML decodes a TOML file of at most limit bytes into a tree.
func parseTOML(file string, data []byte, limit int) (*node, error) {
	if len(data) > limit {
		return nil, &FileError{File: file, Problem: fmt.Sprintf("is %d bytes; at most %d are read", len(data), limit)}
	}
	if err := checkShapeTOML(file, data); err != nil {
		return nil, err
	}
	var raw map[string]any
	md, err := toml.Decode(string(data), &raw)
	if err != nil {
		return nil, tomlError(file, err)
	}
	t := &tree{file: file, lineOf: func(n *node) int { return tomlLine(&md, data, n) }}
	return t.fromTOML(nil, "", raw), nil
}

func tomlError(file string, err error) *FileError {
	var pe toml.ParseError
	if !errors.As(err, &pe) {
		return &FileError{File: file, Problem: "is not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
	}
	return &FileError{File: file, Line: pe.Position.Line, Problem: "is not TOML: " + oneLine(pe.Message)}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (t *tree) fromTOML(parent *node, key string, v any) *node {
	n := &node{tree: t, parent: parent, key: key, value: v}
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]*node, len(v))
		for k, e := range v {
			m[k] = t.fromTOML(n, k, e)
		}
		n.value = m
	case []map[string]any:
		list := make([]*node, len(v))
		for i, e := range v {
			list[i] = t.fromTOML(n, index(i), e)
		}
		n.value = list
	case []any:
		list := make([]*node, len(v))
		for i, e := range v {
			list[i] = t.fromTOML(n, index(i), e)
		}
		n.value = list
	case string, int64, float64, bool, time.Time:
	default:
		n.value = fmt.Sprint(v)
	}
	return n
}

func index(i int) string { return fmt.Sprintf("[%d]", i) }

// tomlLine asks the parser where a key stands. It keeps positions to itself and tells them only in the error of a value
// that refuses to be decoded, so the key is decoded once more into such a value. This reads the whole file, which is
// why lines are looked up for the one error that is shown and not for every key.
func tomlLine(md *toml.MetaData, data []byte, n *node) int {
	var keys []string
	for ; n.parent != nil; n = n.parent {
		keys = append(keys, n.key)
	}
	slices.Reverse(keys)
	if i := slices.IndexFunc(keys, func(k string) bool { return strings.HasPrefix(k, "[") }); i >= 0 {
		keys = keys[:i]
	}
	if len(keys) == 0 {
		return 0
	}
	top := map[string]toml.Primitive{}
	if _, err := toml.Decode(string(data), &top); err != nil {
		return 0
	}
	return primitiveLine(md, top, keys)
}

func primitiveLine(md *toml.MetaData, table map[string]toml.Primitive, keys []string) int {
	value, ok := table[keys[0]]
	if !ok {
		return 0
	}
	if len(keys) > 1 {
		next := map[string]toml.Primitive{}
		if md.PrimitiveDecode(value, &next) != nil {
			return 0
		}
		return primitiveLine(md, next, keys[1:])
	}
	var pe toml.ParseError
	if errors.As(md.PrimitiveDecode(value, refuser{}), &pe) {
		return pe.Position.Line
	}
	return 0
}

// refuser is a value that cannot be decoded.
type refuser struct{}

func (refuser) UnmarshalTOML(any) error { return errors.New("refused") }
