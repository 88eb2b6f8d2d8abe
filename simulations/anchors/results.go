package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// readResults reads a file of JSON lines, oldest first. A file that is not there holds none.
func readResults(file string) ([]Result, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var results []Result
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r Result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("anchors: %s:%d: %w", file, n, err)
		}
		results = append(results, r)
	}
	return results, lines.Err()
}

// appendResult adds one line, as the row's process has printed it.
func appendResult(file string, line []byte) error {
	var r Result
	if err := json.Unmarshal(line, &r); err != nil {
		return fmt.Errorf("anchors: a row printed %q: %w", line, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// newest keeps the newest result of each row, among those of the machine and Go of the newest one of all.
func newest(results []Result) map[Row]Result {
	out := make(map[Row]Result)
	if len(results) == 0 {
		return out
	}
	last := results[len(results)-1]
	for _, r := range results {
		if r.Machine == last.Machine && r.Go == last.Go {
			out[r.Row] = r
		}
	}
	return out
}
