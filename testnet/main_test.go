//go:build unix

package testnet

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// binary is the real command, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	if need, isService := os.LookupEnv(serviceNeeds); isService {
		os.Exit(serveSlowly(need))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "cellnode")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/cellnode/cellnode/cmd/cellnode").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	if code := m.Run(); code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
