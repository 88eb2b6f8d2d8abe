package spawn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// toolchain is the Go that builds.
type toolchain struct {
	root    string // GOROOT, without links
	version string // "go1.26.8"
}

// errNoGo says that there is nothing to build with.
var errNoGo = errors.New("spawn: the go command is not there: install Go, or put it on the PATH")

// findToolchain finds the go command on the PATH and reads its version from the file beside it, which takes no process;
// a Go without that file is asked.
func findToolchain(ctx context.Context, command string) (toolchain, error) {
	if command == "" {
		command = "go"
	}
	path, err := exec.LookPath(command)
	if err != nil {
		return toolchain{}, errNoGo
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return toolchain{}, fmt.Errorf("spawn: %w", err)
	}
	root := filepath.Dir(filepath.Dir(path))
	if data, err := os.ReadFile(filepath.Join(root, "VERSION")); err == nil {
		version, _, _ := bytes.Cut(data, []byte("\n"))
		return toolchain{root: root, version: strings.TrimSpace(string(version))}, nil
	}
	settings, err := goSettings(ctx, path, "GOROOT", "GOVERSION")
	if err != nil {
		return toolchain{}, err
	}
	if root, err = filepath.EvalSymlinks(settings["GOROOT"]); err != nil {
		return toolchain{}, fmt.Errorf("spawn: %w", err)
	}
	return toolchain{root: root, version: settings["GOVERSION"]}, nil
}

func (t toolchain) command() string { return filepath.Join(t.root, "bin", "go") }

// goSettings asks the user's own Go for its settings. It stands in the root folder, so that no module's files matter.
func goSettings(ctx context.Context, command string, names ...string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, command, append([]string{"env", "-json"}, names...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOWORK=off")
	out, err := cmd.Output()
	settings := map[string]string{}
	if err == nil {
		err = json.Unmarshal(out, &settings)
	}
	if err != nil {
		return nil, fmt.Errorf("spawn: go env: %w", err)
	}
	return settings, nil
}
