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
	var open bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the working directory a cell: write Cell.toml, signed by your publisher key",
		Long: `init writes Cell.toml and, where there is none yet, a publisher's key in the home directory. Commit the
file and tag the commit; instances then need a grant (cellnode grant), and nobody else can answer as one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return initCell(cmd, g, name, repository, open) },
	}
	cmd.Flags().StringVar(&name, "name", "", "of the cell: a-z, 0-9 and - (default: the directory's)")
	cmd.Flags().StringVar(&repository, "repository", "", "where others fetch it (default: git's origin)")
	cmd.Flags().BoolVar(&open, "open", false, "name no publishers: anybody may then answer as an instance")
	return cmd
}

func initCell(cmd *cobra.Command, g *globals, name, repository string, open bool) error {
	const path = "Cell.toml"
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return usage("there is a Cell.toml already: it is left as it is")
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
		text += fmt.Sprintf("\n[trust]\nkeys = [%q]\n", key)
	}
	if _, err := manifest.ParseFile(path, []byte(text)); err != nil {
		return err
	}
	if err := manifest.CreateFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	return g.print(cmd, struct {
		File string `json:"file"`
	}{path}, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, "written: Cell.toml; now git add Cell.toml, git commit, git tag v0.1.0")
		return err
	})
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
