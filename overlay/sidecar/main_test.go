package sidecar

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain plays a service, if told so.
func TestMain(m *testing.M) {
	if role := os.Getenv("SIDECAR_TEST_ROLE"); role != "" {
		play(role)
		return
	}
	goleak.VerifyTestMain(m)
}
