package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

// newCell is what init is told of a cell.
type newCell struct {
	name, repository string
	interfaces       []string
	importRoots      []string
	open             bool
	trust            bool // the file is there, and the own key is put into it
}

func newInit(g *globals) *cobra.Command {
	var c newCell
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the working directory a cell: write Cell.toml, signed by your publisher key",
		Long: `init writes Cell.toml and, where there is none yet, a publisher's key in the home directory. Commit the
file and tag the commit; instances then need a grant (cellnode grant), and nobody else can answer as one.

The interface is what consumers' clients are generated from and held to: .proto files, or any other file
that says how the cell is called, whose hash then counts.

With --trust it makes you the publisher of the cell that Cell.toml describes already: of one that has been
open, or of your copy of somebody else's.`,
		Example: `  cellnode init --interface proto/exchange.proto
  cellnode init --interface api/openapi.json --repository https://git.example/acme/ledger`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case c.trust && (c.open || c.name+c.repository != "" || len(c.interfaces)+len(c.importRoots) > 0):
				return usage("--trust: it goes with no other flag of init: what else the file says stays")
			case c.trust:
				return takeCell(cmd, g)
			}
			return c.write(cmd, g)
		},
	}
	cmd.Flags().StringVar(&c.name, "name", "", "of the cell: a-z, 0-9 and - (default: the directory's)")
	cmd.Flags().StringVar(&c.repository, "repository", "", "where others fetch it (default: git's origin)")
	cmd.Flags().BoolVar(&c.open, "open", false, "name no publishers: anybody may then answer as an instance")
	cmd.Flags().BoolVar(&c.trust, "trust", false, "put your key into the [trust] of the Cell.toml that is here")
	cmd.Flags().StringArrayVar(&c.interfaces, "interface", nil, "a file that defines the interface, from here; may be repeated")
	cmd.Flags().StringArrayVar(&c.importRoots, "import-root", nil, "a folder that .proto files import from; may be repeated (default: here and theirs)")
	return cmd
}

const cellToml = "Cell.toml"

func (c *newCell) write(cmd *cobra.Command, g *globals) error {
	if _, err := os.Lstat(cellToml); !errors.Is(err, fs.ErrNotExist) {
		return usage("there is a Cell.toml already: it is left as it is; `cellnode init --trust` puts your key into it")
	}
	text, err := c.file(cmd)
	if err != nil {
		return err
	}
	file, err := manifest.ParseFile(cellToml, []byte(text))
	if err != nil {
		return err
	}
	if err := source.CheckInterface(".", file); err != nil {
		return err
	}
	if !c.open {
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

// file is the text of Cell.toml without [trust].
func (c *newCell) file(cmd *cobra.Command) (string, error) {
	if c.name == "" {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		c.name = strings.ToLower(filepath.Base(dir))
	}
	if err := manifest.CheckName(c.name); err != nil {
		return "", usage("%w: choose one with --name", err)
	}
	text := fmt.Sprintf("[package]\nname = %q\n", c.name)
	repository, err := c.origin(cmd)
	if err != nil {
		return "", err
	}
	if repository != "" {
		text += fmt.Sprintf("repository = %q\n", repository)
	}
	return text + list("interface", c.interfaces) + list("import_roots", c.importRoots), nil
}

// origin is where others fetch the cell; empty where git's origin is of this machine alone: git itself knows it.
func (c *newCell) origin(cmd *cobra.Command) (string, error) {
	if c.repository == "" {
		out, err := exec.CommandContext(cmd.Context(), "git", "remote", "get-url", "origin").Output()
		if c.repository = strings.TrimSpace(string(out)); err != nil || c.repository == "" {
			return "", usage("git knows no origin here: say where others fetch the cell with --repository https://…")
		}
		if filepath.IsAbs(c.repository) || strings.HasPrefix(c.repository, ".") || strings.HasPrefix(c.repository, "file:") {
			return "", nil
		}
	}
	if err := manifest.FetchURL(c.repository); err != nil {
		return "", usage("--repository: %w", err)
	}
	return c.repository, nil
}

// list is a line of TOML with an array of paths; none for none.
func list(key string, paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = strconv.Quote(filepath.ToSlash(filepath.Clean(p)))
	}
	return fmt.Sprintf("%s = [%s]\n", key, strings.Join(quoted, ", "))
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
