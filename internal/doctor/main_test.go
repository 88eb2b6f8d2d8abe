package doctor

import (
	"os"
	"testing"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}
