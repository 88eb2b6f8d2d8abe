//go:build linux && netns

package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary names the variable with the path of the real command, built once before the namespaces are entered: a build
// may need the network.
const binary = "CELLNODE_NETNS_BINARY"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "n")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "cellnode")
	if os.Getenv(binary) == "" {
		if out, err := exec.Command("go", "build", "-o", path, "github.com/cellnode/cellnode/cmd/cellnode").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
	}
	entered, code, err := Enter(binary + "=" + path)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	case entered:
		return m.Run()
	}
	return code
}
