package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tiny are rows that take a moment.
func tiny() []row {
	return []row{
		{name: "quiet", n: 4, play: func(r *run) { r.Run(10 * time.Second) }},
		{name: "crash", n: 4, play: func(r *run) { r.crash(1) }},
		{name: "split", n: 8, play: (*run).partition},
		{name: "start", n: 8, play: (*run).start, strangers: true},
	}
}

func TestAStudyGoesOnWhereItWasStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "study.jsonl")
	first := plan{rows: tiny()[:2], seeds: 1, file: file, end: time.Now().Add(time.Minute)}
	if _, err := first.run(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	played := 0
	second := plan{rows: tiny()[:2], seeds: 2, file: file, end: time.Now().Add(time.Minute), said: func(result) { played++ }}
	results, err := second.run()
	if err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(file); err != nil || !strings.HasPrefix(string(after), string(before)) {
		t.Errorf("earlier results are not kept: %v", err)
	}
	if len(results) != 4 || played != 2 {
		t.Errorf("%d results, %d of them played in the second run; want 4 and 2", len(results), played)
	}
}

func TestNothingBeginsAfterTheEnd(t *testing.T) {
	p := plan{rows: tiny(), seeds: 3, file: filepath.Join(t.TempDir(), "study.jsonl"), end: time.Now().Add(-time.Second)}
	if results, err := p.run(); err != nil || len(results) > 0 {
		t.Errorf("%d results, %v", len(results), err)
	}
}

func TestADamagedResultIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "study.jsonl")
	if err := os.WriteFile(file, []byte("{\"Row\":\"quiet\",\"Seed\":1}\n{\"Row\":\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := plan{rows: tiny(), seeds: 1, file: file, end: time.Now().Add(time.Minute)}
	if _, err := p.run(); err == nil || !strings.Contains(err.Error(), "study.jsonl:2:") {
		t.Errorf("error %v, want one that names line 2", err)
	}
}

func TestARowIsReplayedByItsSeed(t *testing.T) {
	for _, row := range tiny() {
		one, err := play(row, 7)
		if err != nil {
			t.Fatal(err)
		}
		two, err := play(row, 7)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := line(row.name, []result{one}), line(row.name, []result{two}); a != b {
			t.Errorf("%s\nthen\n%s", a, b)
		}
	}
}

// TestWhoIsCutOffIsNotCountedAsWronglyDropped tells the halves of a partition, which must drop each other, from a
// member that could have answered.
func TestWhoIsCutOffIsNotCountedAsWronglyDropped(t *testing.T) {
	split, err := play(tiny()[2], 1)
	if err != nil {
		t.Fatal(err)
	}
	if split.FalseDeaths != 0 || split.Heal == 0 {
		t.Errorf("%d wrongly dropped, healed after %.1f s; want 0 and some time", split.FalseDeaths, split.Heal)
	}
	hung, err := play(row{name: "hung", n: 8, play: func(r *run) {
		r.Node(3).Pause(20 * time.Second) // its machine is whole, so that dropping it is wrong in this book
		r.Run(10 * time.Second)
	}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if hung.FalseDeaths == 0 {
		t.Error("a living member that all have dropped is not counted")
	}
}

func TestTheTableAddsUpSeeds(t *testing.T) {
	got := line("row", []result{
		{Took: []float64{3, 1}, Missed: 1, False: 2, InstanceDays: 1.5, BytesPerNodeSecond: 20},
		{Took: []float64{2}, False: 1, InstanceDays: 0.5, BytesPerNodeSecond: 30, Heal: 4, Readmit: 0.125},
	})
	want := "| row | 2 | 2.0 / 3.0 / 3.0 s (3) | 1 | 3 in 2.00 | 0 | 25.0 | – | 4.0 s | – | 0.12 s |"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, row := range rows() {
		if seen[row.name] {
			t.Errorf("two rows are called %q", row.name)
		}
		seen[row.name] = true
	}
}
