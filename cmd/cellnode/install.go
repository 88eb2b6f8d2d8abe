package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
)

// onDemandIdle is how long a node that was started on demand stays when nobody asks it.
const onDemandIdle = 30 * time.Minute

// installed is what daemon install has written.
type installed struct {
	Command []string `json:"command"`         // that starts the node
	Units   []string `json:"units,omitempty"` // of systemd
}

func newDaemonInstall(g *globals) *cobra.Command {
	var units bool
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Have clients and commands of this user start the machine's node when they first need it",
		Long: `install notes in the home directory how the node is started. Clients and commands then start it when
they first need it, and it ends when nobody has asked anything for half an hour.

With --systemd it also writes units for systemd's user manager, which opens the socket itself and
starts the node when somebody connects.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := openHome()
			if err != nil {
				return err
			}
			self, err := os.Executable()
			if err != nil {
				return err
			}
			done := installed{Command: []string{self, "daemon", "start", "--idle-exit", onDemandIdle.String()}}
			if units {
				if done.Units, err = writeUnits(dir, self); err != nil {
					return err
				}
			}
			if err := dir.SetDaemonCommand(done.Command); err != nil {
				return err
			}
			return g.print(cmd, done, done.text)
		},
	}
	_, err := exec.LookPath("systemctl")
	cmd.Flags().BoolVar(&units, "systemd", err == nil && os.Getenv("XDG_RUNTIME_DIR") != "", "write units for systemd's user manager too")
	return cmd
}

func (i installed) text(w io.Writer) error {
	fmt.Fprintf(w, "clients and commands start the node when they need it: %s\n", words(i.Command))
	for _, u := range i.Units {
		fmt.Fprintf(w, "written: %s\n", u)
	}
	if len(i.Units) > 0 {
		fmt.Fprintln(w, "now run: systemctl --user daemon-reload && systemctl --user enable --now cellnode.socket")
	}
	return nil
}

func newDaemonUninstall(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Undo install; a node that runs stays",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := home.Open()
			if err != nil {
				return err
			}
			units, err := unitPaths()
			if err != nil {
				return err
			}
			for _, path := range units {
				text, err := os.ReadFile(path)
				if err != nil || !strings.HasPrefix(string(text), unitMark) {
					continue // not there, or not ours
				}
				if err := os.Remove(path); err != nil {
					return err
				}
			}
			return dir.SetDaemonCommand(nil)
		},
	}
}

const unitMark = "# Written by cellnode daemon install.\n"

// unitPaths returns where the units lie: the service, then the socket.
func unitPaths() ([]string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return nil, err
	}
	user := filepath.Join(config, "systemd", "user")
	return []string{filepath.Join(user, "cellnode.service"), filepath.Join(user, "cellnode.socket")}, nil
}

func writeUnits(dir *home.Dir, self string) ([]string, error) {
	paths, err := unitPaths()
	if err != nil {
		return nil, err
	}
	socket, err := dir.SocketPath(daemon.Socket)
	if err != nil {
		return nil, err
	}
	texts := []string{serviceUnit(dir, self), socketUnit(socket)}
	if err := os.MkdirAll(filepath.Dir(paths[0]), 0o755); err != nil {
		return nil, err
	}
	for n, path := range paths {
		if err := manifest.WriteFile(path, []byte(texts[n]), 0o644); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func serviceUnit(dir *home.Dir, self string) string {
	escape := strings.NewReplacer("%", "%%")
	return unitMark + `[Unit]
Description=cellnode: finds live instances of services by the name of their repository
Documentation=https://github.com/cellnode/cellnode
Requires=cellnode.socket

[Service]
ExecStart=` + escape.Replace(words([]string{self, "daemon", "start", "--foreground", "--idle-exit", onDemandIdle.String()})) + `
Environment=` + escape.Replace(words([]string{"CELL_HOME=" + dir.Path()})) + `
Restart=on-failure
NoNewPrivileges=yes
`
}

func socketUnit(socket string) string {
	return unitMark + `[Unit]
Description=The socket of cellnode's HTTP API

[Socket]
ListenStream=` + strings.ReplaceAll(socket, "%", "%%") + `
SocketMode=0600
DirectoryMode=0700

[Install]
WantedBy=sockets.target
`
}
