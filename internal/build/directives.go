package build

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// directive is a //go:generate line that runs cellnode remote, however the command is reached: by its name, through
// `go tool`, or as `go run …/cmd/cellnode@version`.
var directive = regexp.MustCompile(`^//go:generate\s+(?:.*[\s/])?cellnode(?:@\S+)?\s+remote\s+(.+)$`)

// requests are the packages that the consumer's //go:generate lines ask for.
func (b *Builder) requests() ([]Request, error) {
	var out []Request
	err := b.walk(func(path string) error {
		if strings.HasSuffix(path, ".pb.go") {
			return nil
		}
		data, err := readFile(path, manifest.MaxPublishedSize)
		if err != nil {
			return err
		}
		line := 0
		for text := range bytes.Lines(data) {
			line++
			m := directive.FindSubmatch(bytes.TrimSpace(text))
			if m == nil {
				continue
			}
			list, err := parseDirective(string(m[1]), filepath.Dir(path))
			if err != nil {
				return fmt.Errorf("%s:%d: %w", path, line, err)
			}
			out = append(out, list...)
		}
		return nil
	})
	return out, err
}

// parseDirective reads the arguments of a line, as seen from the folder of its file.
func parseDirective(line, dir string) ([]Request, error) {
	var args []string
	out, open := "", false
	fields := strings.Fields(line)
	for i := 0; i < len(fields); i++ {
		switch value, hasValue := strings.CutPrefix(fields[i], "--out="); {
		case hasValue:
			out = value
		case fields[i] == "--out" && i+1 < len(fields):
			i++
			out = fields[i]
		case fields[i] == "--allow-open":
			open = true
		case strings.HasPrefix(fields[i], "-"): // what the command is to do besides
		default:
			args = append(args, strings.Trim(fields[i], `"`))
		}
	}
	requests, err := ParseRequests(args)
	if err != nil {
		return nil, err
	}
	for i := range requests {
		requests[i].AllowOpen = open
	}
	return Place(requests, dir, out)
}

// Place gives requests their folders: out, which takes one cell, or below dir.
func Place(requests []Request, dir, out string) ([]Request, error) {
	if out != "" && len(requests) != 1 {
		return nil, fmt.Errorf("build: --out is the folder of one package, and %d cells are asked for: run cellnode remote once for each", len(requests))
	}
	for i := range requests {
		switch {
		case out == "":
			requests[i].below = dir
		case filepath.IsAbs(out):
			requests[i].Dir = out
		default:
			requests[i].Dir = filepath.Join(dir, out)
		}
	}
	return requests, nil
}
