package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/simulations"
)

// result is one row with one seed: a line of the results file.
type result struct {
	Row                string
	Seed               uint64
	InstanceDays       float64   // members times virtual time
	Took               []float64 // crash to gone everywhere, in seconds
	Missed             int       // not gone, or not healed, in time
	Expected           bool      // certificates against the living are part of the row, and not counted as false
	False              int       // false certificates
	FalseDeaths        int       // the living that were dropped from a list although they could answer, counted by list
	BytesPerNodeSecond float64   // payload, idle rows only
	CertificateBytes   int
	Heal               float64 // seconds until all agreed
	ProbeRatio         float64 // liars' minute over an honest one
	Readmit            float64 // seconds from a refutation until every honest member lists its author again, the longest
	WallSeconds        float64
}

// play runs one row with one seed.
func play(row row, seed uint64) (result, error) {
	wall := time.Now()
	w := simulations.NewWorld(seed, gossip.WAN())
	w.Links(50 * time.Millisecond)
	w.Loss = row.loss
	r := &run{World: w, n: row.n}
	if row.strangers {
		w.Begin(row.n)
	} else {
		w.Populate(row.n)
		w.Run(20 * time.Second)
	}
	row.play(r)
	r.Row, r.Seed = row.name, seed
	r.InstanceDays = w.Now().Sub(simulations.Start).Hours() / 24 * float64(row.n)
	if !r.Expected {
		r.result.False = w.False
	}
	r.result.FalseDeaths, r.result.CertificateBytes = w.FalseDeaths-r.meant, w.CertificateBytes
	r.WallSeconds = time.Since(wall).Seconds()
	return r.result, nil
}

// load reads the results of earlier runs; a file that is not there holds none.
func load(path string) ([]result, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []result
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, len(out)+1, err)
		}
		out = append(out, r)
	}
	return out, lines.Err()
}

// store appends one result.
func store(path string, r result) (err error) {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(append(line, '\n'))
	return err
}

// table writes all results as Markdown, one line a row.
func table(out io.Writer, results []result) {
	fmt.Fprintln(out, "| row | seeds | detection p50 / p99 / max | missed | false certificates, in instance-days | living dropped | B a node and second | certificate | heal, max | probes × honest | readmitted, max |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, row := range rows() {
		var of []result
		for _, r := range results {
			if r.Row == row.name {
				of = append(of, r)
			}
		}
		if len(of) > 0 {
			fmt.Fprintln(out, line(row.name, of))
		}
	}
}

func line(name string, of []result) string {
	var took []float64
	var missed, wrong, dropped, size int
	var days, bytes, heal, probes, readmit float64
	for _, r := range of {
		took = append(took, r.Took...)
		missed, wrong, dropped, size = missed+r.Missed, wrong+r.False, dropped+r.FalseDeaths, max(size, r.CertificateBytes)
		days, bytes = days+r.InstanceDays, bytes+r.BytesPerNodeSecond/float64(len(of))
		heal, probes, readmit = max(heal, r.Heal), max(probes, r.ProbeRatio), max(readmit, r.Readmit)
	}
	falsehoods := fmt.Sprintf("%d in %.2f", wrong, days)
	if of[0].Expected {
		falsehoods = fmt.Sprintf("– in %.2f", days)
	}
	return "| " + strings.Join([]string{
		name, fmt.Sprint(len(of)), quantiles(took), fmt.Sprint(missed), falsehoods, fmt.Sprint(dropped),
		unless0(bytes, "%.1f"), unless0(float64(size), "%.0f B"), unless0(heal, "%.1f s"), unless0(probes, "%.2f"),
		unless0(readmit, "%.2f s"),
	}, " | ") + " |"
}

func quantiles(d []float64) string {
	if len(d) == 0 {
		return "–"
	}
	slices.Sort(d)
	at := func(q float64) float64 { return d[min(len(d)-1, int(q*float64(len(d))))] }
	return fmt.Sprintf("%.1f / %.1f / %.1f s (%d)", at(0.5), at(0.99), d[len(d)-1], len(d))
}

func unless0(v float64, format string) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf(format, v)
}
