package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
)

func newConfig(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "The settings of this machine's nodes",
		Long: `The settings of this machine's nodes stand in config.toml in ~/.cell (or CELL_HOME). Each key also
goes by a variable, CELL_ and the key in capitals, which stands in for the file.

A running node reads them again on SIGHUP.`,
	}
	cmd.AddCommand(newConfigShow(g), newConfigCheck(g))
	return cmd
}

type shownConfig struct {
	Path     string       `json:"path"`
	Present  bool         `json:"present"`
	Settings []home.Value `json:"settings"`
	Notes    []string     `json:"notes"`
}

func newConfigShow(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print every setting and where it comes from, in the form of config.toml",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shown, err := showConfig()
			if err != nil {
				return err
			}
			return g.print(cmd, shown, shown.text)
		},
	}
}

func showConfig() (shownConfig, error) {
	dir, err := openHome()
	if err != nil {
		return shownConfig{}, err
	}
	s := shownConfig{Path: dir.ConfigPath(), Notes: home.UnknownVariables(os.Environ())}
	if s.Notes == nil {
		s.Notes = []string{}
	}
	switch _, err := os.Stat(s.Path); {
	case err == nil:
		s.Present = true
	case !errors.Is(err, fs.ErrNotExist):
		return shownConfig{}, err
	}
	s.Settings, err = dir.Values()
	return s, err
}

func (s shownConfig) text(w io.Writer) error {
	absent := ""
	if !s.Present {
		absent = " (absent)"
	}
	fmt.Fprintf(w, "# %s%s\n", s.Path, absent)
	for _, note := range s.Notes {
		fmt.Fprintf(w, "# note: %s\n", note)
	}
	for _, v := range s.Settings {
		from := v.From
		if from == s.Path {
			from = "config.toml"
		}
		fmt.Fprintf(w, "%s = %s # %s\n", v.Key, v.TOML(), from)
	}
	return nil
}

func newConfigCheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say whether the settings are right: those of FILE, or config.toml and the environment",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("config check takes at most one FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			shown, err := checkedConfig(args)
			if err != nil {
				return err
			}
			return g.print(cmd, shown, func(w io.Writer) error {
				for _, note := range shown.Notes {
					fmt.Fprintf(w, "note: %s\n", note)
				}
				if shown.Present {
					fmt.Fprintf(w, "%s: ok\n", shown.Path)
				} else {
					fmt.Fprintf(w, "%s: absent, the defaults hold\n", shown.Path)
				}
				return nil
			})
		},
	}
}

// checkedConfig returns settings that are right, those of a named file by themselves.
func checkedConfig(args []string) (shownConfig, error) {
	if len(args) == 0 {
		return showConfig()
	}
	data, err := home.ReadConfig(args[0])
	if err != nil {
		return shownConfig{}, err
	}
	values, err := home.ParseValues(args[0], data)
	return shownConfig{Path: args[0], Present: true, Settings: values, Notes: []string{}}, err
}
