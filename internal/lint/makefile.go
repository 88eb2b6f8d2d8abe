package lint

import (
	"regexp"
	"strings"
)

var target = regexp.MustCompile(`^([a-z][a-z%-]*):`)

// Makefile keeps the Makefile a list to read: each target says what it is for and has at most
// three lines. Whatever needs more is a program.
func Makefile(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Path != "Makefile" {
			continue
		}
		name, lines := "", 0
		for i, line := range strings.Split(string(f.Data), "\n") {
			if m := target.FindStringSubmatch(line); m != nil {
				name, lines = m[1], 1
				if !strings.Contains(line, " ## ") {
					found = append(found, Finding{"make", f.Path, i + 1, name + " has no ## help"})
				}
			} else if strings.HasPrefix(line, "\t") {
				if lines++; lines == 4 {
					found = append(found, Finding{"make", f.Path, i + 1, name + " has more than three lines: make it a program or split it"})
				}
			}
		}
	}
	return found
}
