package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
)

func newInit(g *globals) *cobra.Command {
	var name, repository string
	var open, trust bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the working directory a cell: write Cell.toml, signed by your publisher key",
		Long: `init writes Cell.toml and, where there is none yet, a publisher's key in the home directory. Commit the
file and tag the commit; instances then need a grant (cellnode grant), and nobody else can answer as one.

With --trust it makes you the publisher of the cell that Cell.toml describes already: of one that has been
open, or of your copy of somebody else's.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case trust && (open || name != "" || repository != ""):
				return usage("--trust: it goes with no other flag of init: what else the file says stays")
			case trust:
				return takeCell(cmd, g)
			}
			return initCell(cmd, g, name, repository, open)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "of the cell: a-z, 0-9 and - (default: the directory's)")
	cmd.Flags().StringVar(&repository, "repository", "", "where others fetch it (default: git's origin)")
	cmd.Flags().BoolVar(&open, "open", false, "name no publishers: anybody may then answer as an instance")
	cmd.Flags().BoolVar(&trust, "trust", false, "put your key into the [trust] of the Cell.toml that is here")
	return cmd
}

const cellToml = "Cell.toml"

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

func initCell(cmd *cobra.Command, g *globals, name, repository string, open bool) error {
	if _, err := os.Lstat(cellToml); !errors.Is(err, fs.ErrNotExist) {
		return usage("there is a Cell.toml already: it is left as it is; `cellnode init --trust` puts your key into it")
	}
	text, err := cellFile(cmd, name, repository)
	if err != nil {
		return err
	}
	if !open {
		key, err := ownPublisher()
		if err != nil {
			return err
		}
		text += "\n" + trustTable(key)
	}
	if _, err := manifest.ParseFile(cellToml, []byte(text)); err != nil {
		return err
	}
	if err := manifest.CreateFile(cellToml, []byte(text), 0o644); err != nil {
		return err
	}
	return written(cmd, g)
}

// cellFile is the file without [trust].
func cellFile(cmd *cobra.Command, name, repository string) (string, error) {
	if name == "" {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		name = strings.ToLower(filepath.Base(dir))
	}
	if err := manifest.CheckName(name); err != nil {
		return "", usage("%w: choose one with --name", err)
	}
	if repository == "" {
		out, err := exec.CommandContext(cmd.Context(), "git", "remote", "get-url", "origin").Output()
		if repository = strings.TrimSpace(string(out)); err != nil || repository == "" {
			return "", usage("git knows no origin here: say where others fetch the cell with --repository https://…")
		}
		if filepath.IsAbs(repository) || strings.HasPrefix(repository, ".") || strings.HasPrefix(repository, "file:") {
			return fmt.Sprintf("[package]\nname = %q\n", name), nil // of this machine alone: git itself knows it
		}
	}
	if err := manifest.FetchURL(repository); err != nil {
		return "", usage("--repository: %w", err)
	}
	return fmt.Sprintf("[package]\nname = %q\nrepository = %q\n", name, repository), nil
}

// ownPublisher is the key of this home directory's publisher, which is made where it is missing.
func ownPublisher() (string, error) {
	dir, err := home.Open()
	if err != nil {
		return "", err
	}
	key, err := home.ReadKey(dir.Path("keys", publisherName))
	if errors.Is(err, fs.ErrNotExist) {
		key, err = makeKey(dir, publisherName)
	}
	if err != nil {
		return "", err
	}
	return keyText(crypto.PrivKey(key))
}
