package home

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// manual is docs/configuration.md, which is the reference of the settings.
func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheManualHasExactlyTheKeysThatThereAre(t *testing.T) {
	var rows []string
	for line := range strings.Lines(manual(t)) {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") == 6 {
			rows = append(rows, line)
		}
	}
	if len(rows) != len(settings) {
		t.Errorf("the manual's table has %d rows, there are %d keys", len(rows), len(settings))
	}
	for i, s := range Settings() {
		live := "no"
		if s.Live {
			live = "yes"
		}
		want := fmt.Sprintf("| `%s` | `%s` | `%s` | %s | ", s.Key, s.Variable(), s.Default(), live)
		if i >= len(rows) || !strings.HasPrefix(rows[i], want) {
			t.Errorf("row %d of the manual does not begin with\n%s", i, want)
		}
	}
}

func TestTheManualHasExactlyTheVariablesThatThereAre(t *testing.T) {
	named := regexp.MustCompile("`(CELL_[A-Z_]+)`").FindAllStringSubmatch(manual(t), -1)
	var got []string
	for _, m := range named {
		if !slices.Contains(got, m[1]) {
			got = append(got, m[1])
		}
	}
	slices.Sort(got)
	if want := Variables(); !slices.Equal(got, want) {
		t.Errorf("the manual names %v, there are %v", got, want)
	}
}

func TestTheManualsExampleIsRight(t *testing.T) {
	_, rest, _ := strings.Cut(manual(t), "```toml\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("the manual has no example")
	}
	c, err := ParseConfig("example", []byte(text))
	if err != nil || len(c.Peers()) != 1 || len(c.Cells()) != 1 || len(c.Advertise) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A variable that some room reads on its own would be in nobody's table, and called unknown by `config check`.
func TestEveryVariableOfTheSourceIsKnown(t *testing.T) {
	literal := regexp.MustCompile(`"(CELL_[A-Z_]*[A-Z])[="]`)
	known, seen := Variables(), map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range literal.FindAllStringSubmatch(string(text), -1) {
			seen[m[1]] = true
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s reads %s, which home.Variables does not list", path, m[1])
			}
		}
		return err
	})
	if err != nil || !seen["CELL_HOME"] || !seen["CELL_FILE"] {
		t.Errorf("%v; seen: %v", err, seen)
	}
}
