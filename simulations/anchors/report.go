package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The table stands between these lines of benchmarks.md.
const (
	tableBegin = "<!-- liveness: written by make bench-liveness -->"
	tableEnd   = "<!-- /liveness -->"
)

// report writes the table into benchmarks.md and the plot beside it.
func report(results, docs string) error {
	list, err := readResults(results)
	if err != nil {
		return err
	}
	rows := newest(list)
	if len(rows) == 0 {
		return fmt.Errorf("anchors: %s holds no results to write", results)
	}
	page := filepath.Join(docs, "benchmarks.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	if text, err = between(text, tables(rows)); err != nil {
		return fmt.Errorf("anchors: %s: %w", page, err)
	}
	return errors.Join(
		os.WriteFile(page, text, 0o644),
		os.WriteFile(filepath.Join(docs, "liveness.svg"), plot(rows), 0o644),
	)
}

// between puts middle between the two marks.
func between(text []byte, middle string) ([]byte, error) {
	before, rest, begun := bytes.Cut(text, []byte(tableBegin+"\n"))
	_, after, ended := bytes.Cut(rest, []byte(tableEnd))
	if !begun || !ended {
		return nil, fmt.Errorf("the lines %s and %s are not there", tableBegin, tableEnd)
	}
	return fmt.Appendf(nil, "%s%s\n%s%s%s", before, tableBegin, middle, tableEnd, after), nil
}
