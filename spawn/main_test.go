package spawn

import (
	"os"
	"testing"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	if mode := os.Getenv(serviceMode); mode != "" {
		serve(mode)
	}
	os.Exit(m.Run())
}
