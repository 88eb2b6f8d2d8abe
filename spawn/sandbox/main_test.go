//go:build linux

package sandbox

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// guest names the variable by which the test binary knows that it is the program in a box: it does one thing and says
// how that went.
const guest = "SANDBOX_TEST_GUEST"

// without names the variable that makes the tests do without the best kind of namespaces: a kind of Walls.
const without = "SANDBOX_TEST_WALLS"

func TestMain(m *testing.M) {
	Init()
	if deed := os.Getenv(guest); deed != "" {
		os.Exit(act(deed))
	}
	if walls := os.Getenv(without); walls != "" {
		layers := probe()
		if layers.Walls = Walls(walls); walls != string(WallsNone) {
			if err := tryWalls(layers.Walls, layers); err != nil {
				os.Stdout.WriteString("SKIP: " + err.Error() + "\n")
				os.Exit(0)
			}
		}
		probed = func() Layers { return layers }
	}
	goleak.VerifyTestMain(m)
}
