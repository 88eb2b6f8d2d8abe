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
	if err := study(*file, *seeds, *only, time.Now().Add(*budget)); err != nil {
		fmt.Fprintln(os.Stderr, "study:", err)
		os.Exit(1)
	}
}

func study(file string, seeds uint64, only string, end time.Time) error {
	results, err := load(file)
	if err != nil {
		return err
	}
	type key struct {
		row  string
		seed uint64
	}
	done := make(map[key]bool)
	for _, r := range results {
		done[key{r.Row, r.Seed}] = true
	}
	for seed := uint64(1); seed <= seeds; seed++ {
		for _, row := range rows() {
			if done[key{row.name, seed}] || !strings.Contains(row.name, only) || time.Now().After(end) {
				continue
			}
			r, err := play(row, seed)
			if err != nil {
				return err
			}
			if err := store(file, r); err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%s, seed %d: %.1f s\n", row.name, seed, r.WallSeconds)
			results = append(results, r)
		}
	}
	table(os.Stdout, results)
	return nil
}
