// Command study measures the detector of gossip in virtual time, row by row and seed by seed. Each result is appended to
// a file as one line of JSON, and what is there already is not run again: a study may be stopped at any time and
// continued, with more seeds or rows. At the end it prints the table.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	file := flag.String("results", "study.jsonl", "file that results are appended to")
	seeds := flag.Uint64("seeds", 3, "how many seeds each row is to have")
	only := flag.String("rows", "", "play rows whose name contains this; empty: all")
	budget := flag.Duration("for", time.Hour, "begin nothing after this long")
	flag.Parse()
	p := plan{seeds: *seeds, file: *file, end: time.Now().Add(*budget), said: func(r result) {
		fmt.Fprintf(os.Stderr, "%s, seed %d: %.1f s\n", r.Row, r.Seed, r.WallSeconds)
	}}
	for _, row := range rows() {
		if strings.Contains(row.name, *only) {
			p.rows = append(p.rows, row)
		}
	}
	results, err := p.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "study:", err)
		os.Exit(1)
	}
	table(os.Stdout, results)
}

// plan is what a study is to play.
type plan struct {
	rows  []row
	seeds uint64 // each row is to have
	file  string
	end   time.Time    // nothing begins after it
	said  func(result) // called for each result as it comes; may be nil
}

// run plays what is missing in the file, and returns all that is there.
func (p plan) run() ([]result, error) {
	results, err := load(p.file)
	if err != nil {
		return nil, err
	}
	type key struct {
		row  string
		seed uint64
	}
	done := make(map[key]bool)
	for _, r := range results {
		done[key{r.Row, r.Seed}] = true
	}
	for seed := uint64(1); seed <= p.seeds; seed++ {
		for _, row := range p.rows {
			if done[key{row.name, seed}] || time.Now().After(p.end) {
				continue
			}
			r, err := play(row, seed)
			if err != nil {
				return nil, err
			}
			if err := store(p.file, r); err != nil {
				return nil, err
			}
			if p.said != nil {
				p.said(r)
			}
			results = append(results, r)
		}
	}
	return results, nil
}
