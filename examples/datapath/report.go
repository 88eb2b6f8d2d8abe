package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The tables stand between these lines of benchmarks.md.
const (
	tableBegin = "<!-- datapath: written by make bench-datapath -->"
	tableEnd   = "<!-- /datapath -->"
)

// writeTables puts the tables into benchmarks.md.
func writeTables(docs, tables string) error {
	page := filepath.Join(docs, "benchmarks.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begun := bytes.Cut(text, []byte(tableBegin+"\n"))
	_, after, ended := bytes.Cut(rest, []byte(tableEnd))
	if !begun || !ended {
		return fmt.Errorf("%s: the lines %s and %s are not there", page, tableBegin, tableEnd)
	}
	return os.WriteFile(page, fmt.Appendf(nil, "%s%s\n%s%s%s", before, tableBegin, tables, tableEnd, after), 0o644)
}

// tables renders the ratios, and what they are ratios of.
func tables(samples []Sample) string {
	if len(samples) == 0 {
		return ""
	}
	last := samples[len(samples)-1]
	var b strings.Builder
	low, high := busy(samples)
	fmt.Fprintf(&b, "%s, %s, %s; %d rounds, load average %.1f to %.1f.\n\n", last.Machine, last.Go, last.Date.Format("2 January 2006"), last.Round, low, high)
	b.WriteString("Time of a call: the ratio of the medians in a round, its median over the rounds and, in brackets, the 95 % bounds of that.\n\n")
	ratios(&b, samples, func(s Sample) float64 { return s.P50 })
	b.WriteString("\nProcessor time of all processes for a call, in the same way.\n\n")
	ratios(&b, samples, func(s Sample) float64 { return s.CPU })
	b.WriteString("\nThe medians themselves, in microseconds: half of the calls took less; 99 of 100 took less; processor time.\n\n")
	absolutes(&b, samples)
	return b.String()
}

func busy(samples []Sample) (low, high float64) {
	low = samples[0].Busy
	for _, s := range samples {
		low, high = min(low, s.Busy), max(high, s.Busy)
	}
	return low, high
}

func header(b *strings.Builder, first ...string) {
	columns := first
	for _, l := range loads {
		columns = append(columns, l.name)
	}
	fmt.Fprintf(b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
}

func ratios(b *strings.Builder, samples []Sample, of func(Sample) float64) {
	header(b, "path", "beside")
	for _, p := range paths {
		for _, anchor := range p.anchors {
			var cells []string
			for _, l := range loads {
				ours, theirs := pick(samples, p.name, l.name), pick(samples, anchor, l.name)
				var values []float64
				for round, s := range ours {
					if a, ok := theirs[round]; ok {
						values = append(values, of(s)/of(a))
					}
				}
				cells = append(cells, ratio(estimateOf(values), len(values)))
			}
			if slices.ContainsFunc(cells, func(c string) bool { return c != none }) {
				fmt.Fprintf(b, "| %s | %s | %s |\n", p.name, anchor, strings.Join(cells, " | "))
			}
		}
	}
}

// none stands where nothing was measured.
const none = "–"

func ratio(e estimate, n int) string {
	if n == 0 {
		return none
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", e.median, e.low, e.high)
}

// pick is what a load found on a path, by round.
func pick(samples []Sample, path, load string) map[int]Sample {
	found := map[int]Sample{}
	for _, s := range samples {
		if s.Path == path && s.Load == load {
			found[s.Round] = s
		}
	}
	return found
}

func absolutes(b *strings.Builder, samples []Sample) {
	header(b, "path")
	for _, p := range paths {
		var cells []string
		for _, l := range loads {
			var p50, p99, cpu []float64
			for _, s := range pick(samples, p.name, l.name) {
				p50, p99, cpu = append(p50, s.P50), append(p99, s.P99), append(cpu, s.CPU)
			}
			cell := none
			if len(p50) > 0 {
				cell = fmt.Sprintf("%.0f; %.0f; %.0f", estimateOf(p50).median, estimateOf(p99).median, estimateOf(cpu).median)
			}
			cells = append(cells, cell)
		}
		if slices.ContainsFunc(cells, func(c string) bool { return c != none }) {
			fmt.Fprintf(b, "| %s | %s |\n", p.name, strings.Join(cells, " | "))
		}
	}
}
