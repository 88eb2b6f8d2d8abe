//go:build amd64 || arm64

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestKilledAtAnyChangeTheBuildStepLeavesWholeFiles kills cellnode remote at its changes of the consumer's folder, where
// nothing was before and where another client stands already. Every file is then the old one or the new one, or absent, and
// the next run writes what an undisturbed one would have.
func TestKilledAtAnyChangeTheBuildStepLeavesWholeFiles(t *testing.T) {
	if err := traceable(t); err != nil {
		t.Skipf("this machine does not let a process trace its children: %v", err)
	}
	m := newMatrix(t)
	m.publish("near")
	first := m.consumer("near", false, false)
	m.remote(first, "OldClient=exchange")
	m.write(filepath.Join(first, "main.go"), "package main\n\nfunc main() {}\n")
	before := read(t, first)
	m.remote(first, "NewClient=exchange")
	after := read(t, first)
	bare := map[string]string{}
	for _, name := range []string{"Cell.toml", "go.mod", "main.go"} {
		bare[name] = before[name]
	}
	olds := []map[string]string{bare, before}
	plans := []*trace{{}, {}}
	for i, old := range olds {
		m.killed(plans[i], old)
	}
	rounds := kills() / 2
	for i := range 2 * rounds {
		old, plan := olds[i%2], plans[i%2]
		tr := &trace{Kill: 1 + i/2*len(plan.Changes)/rounds, When: moment(i / 2 % 3)}
		dir := m.killed(tr, old)
		what := fmt.Sprintf("death %v %q", tr.When, tr.Changes[len(tr.Changes)-1])
		for name, data := range read(t, dir) {
			if data != old[name] && data != after[name] && !unfinished.MatchString(filepath.Base(name)) {
				t.Errorf("after %s: %s is neither the old nor the new one: %q", what, name, data)
			}
		}
		m.remote(dir, "NewClient=exchange")
		healed := read(t, dir)
		for name, data := range after {
			if healed[name] != data {
				t.Errorf("after %s the next run leaves %s otherwise: %q", what, name, healed[name])
			}
		}
		if t.Failed() || !tr.Died {
			t.Fatalf("%s: died %v", what, tr.Died)
		}
	}
}

// remote generates a client, which must succeed.
func (m *matrix) remote(dir, client string) {
	m.t.Helper()
	if out, errs, code := m.cellnode(m.home["none"], dir, "remote", client); code != 0 {
		m.t.Fatalf("remote %s: %d %s%s", client, code, out, errs)
	}
}

// killed makes a consumer of these files, and traces a run in it.
func (m *matrix) killed(tr *trace, files map[string]string) (dir string) {
	m.t.Helper()
	dir = m.t.TempDir()
	for name, data := range files {
		m.write(filepath.Join(dir, name), data)
	}
	path, err := exec.LookPath("cellnode")
	if err != nil {
		m.t.Fatal(err)
	}
	cmd := exec.Command(path, "remote", "NewClient=exchange")
	cmd.Dir, cmd.Env = dir, append(environ(m.home["none"]), errorsSocket+"=")
	tr.Roots = []string{dir}
	if status, err := tr.Run(cmd, time.Minute); err != nil || !tr.Died && status.ExitStatus() != 0 {
		m.t.Fatalf("%v, %v", status, err)
	}
	return dir
}
