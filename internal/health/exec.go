package health

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

const (
	// outputDelay is how long output is still read after the command's end, or after it was killed.
	outputDelay = 100 * time.Millisecond
	maxOutput   = 512 // bytes kept of what a command writes
)

// execCheck runs a command; 0 is well. The end of ctx kills its process group.
type execCheck struct {
	stateless
	argv []string
	dir  string
}

func (c execCheck) Check(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	cmd.Dir = c.dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CELL_KEY=") || strings.HasPrefix(v, "CELL_GRANT=")
	})
	cmd.WaitDelay = outputDelay
	var output head
	cmd.Stdout, cmd.Stderr = &output, &output
	inGroup(cmd)
	err := cmd.Run()
	if err == nil {
		return nil
	}
	if words := strings.Join(strings.Fields(string(output)), " "); words != "" {
		return fmt.Errorf("health: exec: %s: %w: %s", c.argv[0], err, words)
	}
	return fmt.Errorf("health: exec: %s: %w", c.argv[0], err)
}

// head is a writer that keeps the first bytes.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), maxOutput-len(*h))]...)
	return len(p), nil
}
