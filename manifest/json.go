package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parseJSON decodes a JSON file of at most limit bytes into a tree. It is stricter than encoding/json: no key twice, no
// broken UTF-8, nothing behind the value, MaxDepth levels, and a bound on the number of values.
func parseJSON(file string, data []byte, limit int) (*node, error) {
	if len(data) > limit {
		return nil, &FileError{File: file, Problem: fmt.Sprintf("is %d bytes; at most %d are read", len(data), limit)}
	}
	if !utf8.Valid(data) {
		return nil, &FileError{File: file, Problem: "is not valid UTF-8"}
	}
	t := &tree{file: file, lineOf: func(n *node) int { return lineAt(data, n.at) }}
	d := &jsonReader{tree: t, dec: json.NewDecoder(bytes.NewReader(data)), data: data}
	d.dec.UseNumber()
	root, err := d.value(nil, "", 0)
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, err
	}
	return root, nil
}

func lineAt(data []byte, at int) int {
	return 1 + bytes.Count(data[:min(at, len(data))], []byte("\n"))
}

type jsonReader struct {
	tree  *tree
	dec   *json.Decoder
	data  []byte
	nodes int
}

func (d *jsonReader) problem(format string, args ...any) *FileError {
	line := lineAt(d.data, int(d.dec.InputOffset()))
	return &FileError{File: d.tree.file, Line: line, Problem: fmt.Sprintf(format, args...)}
}

func (d *jsonReader) token() (json.Token, error) {
	tok, err := d.dec.Token()
	if err == nil {
		return tok, nil
	}
	var se *json.SyntaxError
	switch {
	case errors.As(err, &se):
		fe := d.problem("is not JSON: %s", oneLine(se.Error()))
		fe.Line = lineAt(d.data, max(int(se.Offset)-1, 0))
		return nil, fe
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, d.problem("is not JSON: it ends too early")
	}
	return nil, d.problem("is not JSON: %s", oneLine(err.Error()))
}

func (d *jsonReader) end() error {
	if rest := bytes.TrimSpace(d.data[d.dec.InputOffset():]); len(rest) > 0 {
		return d.problem("has text behind its JSON value")
	}
	return nil
}

func (d *jsonReader) value(parent *node, key string, depth int) (*node, error) {
	if depth > MaxDepth {
		return nil, d.problem("is nested deeper than %d", MaxDepth)
	}
	if d.nodes++; d.nodes > maxNodes {
		return nil, d.problem("has more than %d values", maxNodes)
	}
	tok, err := d.token()
	if err != nil {
		return nil, err
	}
	n := &node{tree: d.tree, parent: parent, key: key, at: int(d.dec.InputOffset())}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return n, d.object(n, depth)
		}
		return n, d.array(n, depth)
	case json.Number:
		n.value, err = d.number(v)
	case nil: // a written null is not a missing key
		return nil, d.problem("has a null; leave the key out")
	default:
		n.value = v
	}
	return n, err
}

func (d *jsonReader) number(v json.Number) (any, error) {
	if !strings.ContainsAny(v.String(), ".eE") {
		if i, err := v.Int64(); err == nil {
			return i, nil
		}
	}
	f, err := strconv.ParseFloat(v.String(), 64)
	if err != nil {
		return nil, d.problem("has a number that is too large")
	}
	return f, nil
}

func (d *jsonReader) object(n *node, depth int) error {
	m := map[string]*node{}
	n.value = m
	for d.dec.More() {
		tok, err := d.token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok {
			return d.problem("is not JSON: a key is not a string")
		}
		if m[key] != nil {
			return d.problem("has the key %s twice", strconv.Quote(key))
		}
		if m[key], err = d.value(n, key, depth+1); err != nil {
			return err
		}
	}
	_, err := d.token()
	return err
}

func (d *jsonReader) array(n *node, depth int) error {
	list := []*node{}
	for d.dec.More() {
		e, err := d.value(n, index(len(list)), depth+1)
		if err != nil {
			return err
		}
		list = append(list, e)
	}
	n.value = list
	_, err := d.token()
	return err
}
