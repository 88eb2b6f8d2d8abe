package main

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

const matrixFile = "testdata/matrix.txt"

var updateMatrix = flag.Bool("update-matrix", false, "write "+matrixFile+" anew, for TestEveryRowOfTheBuildStep")

// matrixPage is what the build step says in each row: paragraphs of rows, each a line behind "# ", and the text that they share.
type matrixPage struct {
	want map[string]string // by row; only read once the rows run

	mu  sync.Mutex
	got map[string]string
}

func readMatrix(t *testing.T) *matrixPage {
	t.Helper()
	data, err := os.ReadFile(matrixFile)
	if err != nil && !*updateMatrix {
		t.Fatal(err)
	}
	p := &matrixPage{want: map[string]string{}, got: map[string]string{}}
	var rows []string
	heading := false
	for line := range strings.Lines(string(data)) {
		row, is := strings.CutPrefix(line, "# ")
		if is && !heading {
			rows = nil
		}
		if heading = is; is {
			rows = append(rows, strings.TrimSpace(row))
			continue
		}
		for _, row := range rows {
			p.want[row] += line
		}
	}
	return p
}

func (p *matrixPage) compare(t *testing.T, row, text string) {
	t.Helper()
	p.mu.Lock()
	p.got[row] = text
	p.mu.Unlock()
	if want := strings.TrimSpace(p.want[row]); !*updateMatrix && strings.TrimSpace(text) != want {
		t.Errorf("it says\n%swant\n%s", text, want)
	}
}

// write is for -update-matrix.
func (p *matrixPage) write(t *testing.T) {
	t.Helper()
	if !*updateMatrix {
		return
	}
	var b strings.Builder
	for rows := slices.Sorted(maps.Keys(p.got)); len(rows) > 0; {
		text := p.got[rows[0]]
		rows = slices.DeleteFunc(rows, func(row string) bool {
			same := p.got[row] == text
			if same {
				b.WriteString("# " + row + "\n")
			}
			return same
		})
		b.WriteString(text + "\n")
	}
	if err := os.WriteFile(matrixFile, []byte(strings.TrimSpace(b.String())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
