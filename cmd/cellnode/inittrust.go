package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/manifest"
)

// takeCell puts the own key into the [trust] of a Cell.toml, and leaves everything else as it is.
func takeCell(cmd *cobra.Command, g *globals) error {
	info, err := os.Stat(cellToml)
	if err != nil || info.Size() > manifest.MaxFileSize {
		return usage("--trust: there is no Cell.toml here that could be changed: `cellnode init` writes one")
	}
	text, err := os.ReadFile(cellToml)
	if err != nil {
		return err
	}
	before, err := manifest.ParseFile(cellToml, text)
	if err != nil {
		return err
	}
	if before.Package == nil {
		return usage("--trust: Cell.toml has no [package]: it is a consumer's, and has no publishers")
	}
	key, err := ownPublisher()
	if err != nil {
		return err
	}
	changed := []byte(withTrust(string(text), key))
	after, err := manifest.ParseFile(cellToml, changed)
	if err != nil || after.Trust == nil || len(after.Trust.Keys) != 1 || after.Trust.Keys[0] != key {
		return usage("--trust: the [trust] of Cell.toml is written in a way that cannot be changed here: write keys = [%q] by hand", key)
	}
	if err := manifest.WriteFile(cellToml, changed, 0o644); err != nil {
		return err
	}
	return written(cmd, g)
}

// withTrust puts another [trust] in place of the one in a Cell.toml, or behind everything.
func withTrust(text, key string) string {
	var out []string
	inside := false
	for line := range strings.Lines(text) {
		if head := strings.TrimSpace(line); strings.HasPrefix(head, "[") && !strings.HasPrefix(head, "[[") {
			inside = strings.HasPrefix(head, "[trust]")
		}
		if !inside {
			out = append(out, line)
		}
	}
	return strings.TrimRight(strings.Join(out, ""), "\n") + "\n\n" + trustTable(key)
}

func trustTable(key string) string { return fmt.Sprintf("[trust]\nkeys = [%q]\n", key) }

func written(cmd *cobra.Command, g *globals) error {
	return g.print(cmd, struct {
		File string `json:"file"`
	}{cellToml}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "written: Cell.toml; now git add Cell.toml, git commit, git tag v0.1.0")
		return err
	})
}
