//go:build unix

package spawn

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	if mode := os.Getenv(serviceMode); mode != "" {
		serve(mode)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { clearLibrary(); os.Exit(code) }))
}
