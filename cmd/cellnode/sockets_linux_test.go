//go:build amd64 || arm64

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What promises to need no network opens no socket at all, not even one that would stay on this machine: neither check
// --frozen, nor anything of the build step with offline_vendor. The command and all that it starts are watched.
func TestFrozenAndOfflineVendorOpenNoSocket(t *testing.T) {
	if err := traceable(t); err != nil {
		t.Skipf("this machine does not let a process trace its children: %v", err)
	}
	m := newMatrix(t)
	m.publish("near")
	dir := m.consumer("near", false, false)
	m.write(filepath.Join(dir, "main.go"), "package main\n\n//go:generate cellnode remote ExchangeClient=exchange\n\nfunc main() {}\n")
	for _, args := range [][]string{{"vendor"}, {"build", "."}} {
		if out, errs, code := m.cellnode(m.home["none"], dir, args...); code != 0 {
			t.Fatalf("%v: %d %s%s", args, code, out, errs)
		}
	}
	if tr := m.watched(dir, "check"); len(tr.Sockets) == 0 {
		t.Fatal("check asks instances, and no socket is seen")
	}
	if tr := m.watched(dir, "check", "--frozen"); len(tr.Sockets)+len(tr.Changes) > 0 {
		t.Errorf("check --frozen opens sockets %q, and changes %q", tr.Sockets, tr.Changes)
	}
	text, err := os.ReadFile(filepath.Join(dir, "Cell.toml"))
	if err != nil {
		t.Fatal(err)
	}
	m.write(filepath.Join(dir, "Cell.toml"), string(text)+"offline_vendor = true\n")
	if err := os.RemoveAll(filepath.Join(dir, "exchange")); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"remote ExchangeClient=exchange", "build .", "check", "check --frozen"} {
		if tr := m.watched(dir, strings.Fields(line)...); len(tr.Sockets) > 0 {
			t.Errorf("with offline_vendor, %s opens sockets: %q", line, tr.Sockets)
		}
	}
}

// watched runs the command, which must succeed, and returns what it did below dir.
func (m *matrix) watched(dir string, args ...string) *trace {
	m.t.Helper()
	path, err := exec.LookPath("cellnode")
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = dir, append(environ(m.home["none"]), errorsSocket+"=", "GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=")
	tr := &trace{Roots: []string{dir}}
	if status, err := tr.Run(cmd, time.Minute); err != nil || status.ExitStatus() != 0 {
		m.t.Fatalf("cellnode %v: %v, %v", args, status.ExitStatus(), err)
	}
	return tr
}
