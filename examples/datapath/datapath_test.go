package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain is also the processes of a stage and their servers, which are this executable.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "-stage" {
		finish(start(os.Args[1:], os.Stdout, os.Stderr))
		return
	}
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "serve-") {
		finish(serve(strings.TrimPrefix(os.Args[1], "serve-"), os.Stdin, os.Stdout))
		return
	}
	os.Exit(m.Run())
}

// The bounds of a median of 20 values are the 6th from both ends: 2.07 % of the runs miss it on each side, and with the
// 7th it would be 5.8 %.
func TestBoundsOfAMedian(t *testing.T) {
	for n, want := range map[int]int{1: 0, 5: 0, 6: 0, 8: 0, 9: 1, 20: 5, 30: 9, 100: 39} {
		if got := boundRank(n); got != want {
			t.Errorf("of %d values, %d lie outside; want %d", n, got, want)
		}
	}
	var values []float64
	for n := range 20 {
		values = append(values, float64(20-n))
	}
	if got, want := estimateOf(values), (estimate{10.5, 6, 15}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRatiosPairWhatWasMeasuredInOneRound(t *testing.T) {
	name := loads[0].name
	samples := []Sample{
		{Round: 1, Path: plainTLS, Load: name, P50: 100, CPU: 10},
		{Round: 1, Path: "sidecar, TCP", Load: name, P50: 150, CPU: 30},
		{Round: 2, Path: plainTLS, Load: name, P50: 1000, CPU: 10},
		{Round: 2, Path: "sidecar, TCP", Load: name, P50: 1500, CPU: 30},
		{Round: 3, Path: plainTLS, Load: name, P50: 7, CPU: 10}, // the other half of this round is missing
	}
	got := tables(samples)
	for _, want := range []string{"| sidecar, TCP | tcp + TLS 1.3 | 1.50 (1.50–1.50) | – |", "| sidecar, TCP | tcp + TLS 1.3 | 3.00 (3.00–3.00) | – |", "3 rounds"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestInterruptedRunIsContinued(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.jsonl")
	if s, err := readSamples(file); err != nil || nextRound(s) != 1 {
		t.Fatalf("nothing measured: %v, next round %d", err, nextRound(s))
	}
	for round := 1; round <= 2; round++ {
		if err := appendSamples(file, []Sample{{Round: round, Path: plainTCP}, {Round: round, Path: plainTLS}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := readSamples(file)
	if err != nil || len(s) != 4 || nextRound(s) != 3 {
		t.Errorf("%d samples, next round %d, %v", len(s), nextRound(s), err)
	}
}

// One short round over every path, with the real command: each must be connected as its name says and answer.
func TestEveryPathIsMeasured(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command and starts eight processes")
	}
	dir := t.TempDir()
	binary := filepath.Join(dir, "cellnode")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/cellnode").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	docs := filepath.Join(dir, "docs")
	if err := os.Mkdir(docs, 0o755); err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(docs, "benchmarks.md")
	if err := os.WriteFile(page, []byte("before\n"+tableBegin+"\nold\n"+tableEnd+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := options{results: filepath.Join(dir, "r.jsonl"), rounds: 1, slice: 5 * time.Millisecond, docs: docs, binary: binary}
	var out, log bytes.Buffer
	if err := command(t.Context(), o, &out, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	samples, err := readSamples(o.results)
	if want := len(paths) * len(loads); err != nil || len(samples) != want {
		t.Fatalf("%d samples, %v; want %d", len(samples), err, want)
	}
	for _, s := range samples {
		if s.Calls == 0 || s.P50 <= 0 || s.P99 < s.P50 || s.CPU <= 0 {
			t.Errorf("nothing was measured: %+v", s)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || strings.Contains(string(text), "old") || !strings.Contains(string(text), "| membrane | unix |") || !strings.HasSuffix(string(text), tableEnd+"\nafter\n") {
		t.Errorf("%v, the page is now\n%s", err, text)
	}
}
