//go:build linux

package spawn

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// As root, the tests that matter for it are played again by an ordinary user.
func TestAllThatAsAnOrdinaryUser(t *testing.T) {
	if testing.Short() {
		t.Skip("most tests of the package once more")
	}
	if os.Geteuid() != 0 {
		t.Skip("is for root")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data, err := os.ReadFile("/proc/self/exe")
	own := filepath.Join(dir, "test")
	if err := errors.Join(err, os.WriteFile(own, data, 0o755), os.Chmod(dir, 0o777), os.Chmod(own, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), own, "-test.v", "-test.timeout=8m",
		"-test.run=OneMakesIt|Hostile|ACommandBuilds|Service|Serve|Stopping|Idle|Kill9|NoCell|Warm|Owner|Twenty|ASlowStart|WhatFails|Fifteen")
	cmd.Dir = dir
	cmd.Env = []string{"TMPDIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "SPAWN_TEST_OWNER=" + os.Getenv("SPAWN_TEST_OWNER")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}
