package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// A Sample is what one load found on one path in one round. Times are in microseconds.
type Sample struct {
	Round   int       `json:"round"`
	Path    string    `json:"path"`
	Load    string    `json:"load"`
	Calls   int       `json:"calls"`
	P50     float64   `json:"p50_us"`
	P99     float64   `json:"p99_us"`
	CPU     float64   `json:"cpu_us"`       // of all processes, for each call
	Busy    float64   `json:"load_average"` // of the machine, before
	Date    time.Time `json:"date"`
	Machine string    `json:"machine"`
	Go      string    `json:"go"`
}

// readSamples reads a file of JSON lines. A file that is not there holds none.
func readSamples(file string) ([]Sample, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var samples []Sample
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		var s Sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		samples = append(samples, s)
	}
	return samples, lines.Err()
}

// nextRound is the first that is missing.
func nextRound(samples []Sample) int {
	next := 1
	for _, s := range samples {
		next = max(next, s.Round+1)
	}
	return next
}

// appendSamples adds a round in one write.
func appendSamples(file string, samples []Sample) error {
	var text bytes.Buffer
	for _, s := range samples {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	return errors.Join(err, f.Close())
}
