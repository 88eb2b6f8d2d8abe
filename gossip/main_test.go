package gossip

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	if join := os.Getenv(childEnv); join != "" {
		fmt.Fprintln(os.Stderr, runChild(join))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
