package simulations

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios in testdata print into them")

// TestScenarios plays the texts in testdata: commands, and indented below each what it prints.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playScenario(t, string(data))
			if *rewrite {
				err = os.WriteFile(file, []byte(got), 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != string(data) && !*rewrite {
				t.Errorf("got\n%s\nwant\n%s\n(-args -rewrite takes the new output)", got, data)
			}
		})
	}
}

// playScenario returns a text with what its commands print now.
func playScenario(t *testing.T, text string) string {
	s := NewScript(1)
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "    ") {
			continue // what it printed before
		}
		out.WriteString(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		said, err := s.Do(line)
		if err != nil {
			t.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
		for said := range strings.Lines(said) {
			out.WriteString("    " + said)
		}
	}
	return out.String()
}
