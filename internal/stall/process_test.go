//go:build unix

package stall

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waits, in the environment of this test's binary, makes a process of it that waits for nobody, and says how long it did.
const waits = "STALL_TEST_WAITS"

func TestMain(m *testing.M) {
	d, err := time.ParseDuration(os.Getenv(waits))
	if err != nil {
		os.Exit(m.Run())
	}
	start := time.Now()
	ctx, cancel := WithTimeout(context.Background(), d)
	defer cancel()
	fmt.Println("waiting")
	<-ctx.Done()
	fmt.Println(time.Since(start))
}

// TestAStoppedProcessBlamesNobodyForIt stops a process for longer than its timeout.
func TestAStoppedProcessBlamesNobodyForIt(t *testing.T) {
	const timeout, stopped = 400 * time.Millisecond, 1500 * time.Millisecond
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), waits+"="+timeout.String())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(stopped) //allow:sleep the process stands still for so long
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	lines.Scan()
	waited, err := time.ParseDuration(strings.TrimSpace(lines.Text()))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if least := stopped + timeout/2; waited < least {
		t.Errorf("it gave up %s after it had begun, want at least %s: %s of that it was stopped", waited, least, stopped)
	}
}
