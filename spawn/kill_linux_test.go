package spawn

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

var kills = flag.Int("kills", 10, "how often the tests of killed builders and owners kill")

// A builder is killed by kill -9 at moments of all kinds. The cache is never wrong, nothing holds its lock, and the next
// build works.
func TestAKilledBuilderLeavesTheCacheWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("kills many builds")
	}
	r := ribosome(t, nil)
	recipe := repo(t, map[string]string{
		"Cell.toml": cellToml + "[build]\ncommand = [\"cp\", \"big\", \"out\"]\noutput = \"out\"\n", "big": strings.Repeat("exchange", 1<<17),
	})
	begun := time.Now()
	want, err := r.Build(t.Context(), recipe)
	if err != nil {
		t.Fatal(err)
	}
	one, temp := time.Since(begun), t.TempDir() // which a killed test does not clear
	for n := range *kills {
		if _, err := r.cfg.Cache.Prune(time.Now().Add(time.Hour), false); err != nil {
			t.Fatal(err)
		}
		builder := exec.Command("/proc/self/exe", "-test.run=^TestBuilder$")
		builder.Env = append(os.Environ(), "TMPDIR="+temp, "SPAWN_TEST_BUILDER="+strings.Join([]string{r.cfg.Cache.Dir(), recipe.URL, recipe.Commit}, " "))
		if err := builder.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(rand.N(2*one), func() { _ = builder.Process.Kill() })
		_ = builder.Wait()
		timer.Stop()
		list, err := r.cfg.Cache.List()
		if err != nil || len(list) > 1 {
			t.Fatalf("kill %d: %v, %v", n, list, err)
		}
		for _, a := range list {
			if err := r.cfg.Cache.Check(a); err != nil {
				t.Fatalf("kill %d: %v", n, err)
			}
		}
		a, err := r.Build(t.Context(), recipe)
		if err != nil || a.SHA256 != want.SHA256 {
			t.Fatalf("kill %d: %+v, %v", n, a, err)
		}
	}
	if p, err := r.cfg.Cache.Prune(time.Now().Add(-time.Hour), false); err != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if left, err := os.ReadDir(r.cfg.Cache.path("tmp")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

// An owner, what it runs, and the init of that box are killed by kill -9 at moments of all kinds, from before the start on.
// Nothing lives on, and the service starts again.
func TestKillsOfOwnerAndServiceLeaveNoOrphan(t *testing.T) {
	if testing.Short() {
		t.Skip("kills many services")
	}
	cfg := service(t, "serves")
	begun := time.Now()
	begin(t, cfg).Close()
	one := 2 * time.Since(begun) // its owner starts, too
	for n := range *kills {
		owner := startOwner(t, cfg)
		first := []string{"owner", "service", "init"}[n%3]
		timer := time.AfterFunc(rand.N(2*one), func() {
			for _, pid := range processes(t, cfg.Artifact.Path) {
				if first == "init" {
					pid = parent(pid)
				}
				if first != "owner" && pid > 1 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			time.AfterFunc(rand.N(one), func() { _ = owner.Process.Kill() })
		})
		_ = owner.Wait()
		timer.Stop()
		eventually(t, "nothing of the service lives", func() bool { return len(processes(t, cfg.Artifact.Path)) == 0 })
		c, err := StartCapsid(t.Context(), cfg)
		if err != nil {
			t.Fatalf("kill %d, of the %s first: %v", n, first, err)
		}
		if answer := ask(t, call(t, c), "hello"); answer != "hello" {
			t.Errorf("kill %d, of the %s first: it says %q", n, first, answer)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		clean(t, cfg)
	}
}

// processes are those whose command begins with a path.
func processes(t *testing.T, path string) []int {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	var list []int
	for _, at := range commands {
		if data, err := os.ReadFile(at); err == nil && bytes.HasPrefix(data, []byte(path+"\x00")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(at)))
			list = append(list, pid)
		}
	}
	return list
}

// parent is the number of a process's parent; 0: it has ended.
func parent(pid int) int {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if number, ok := strings.CutPrefix(line, "PPid:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(number))
			return n
		}
	}
	return 0
}

// TestBuilder is the process that TestAKilledBuilderLeavesTheCacheWhole kills.
func TestBuilder(t *testing.T) {
	args := strings.Fields(os.Getenv("SPAWN_TEST_BUILDER"))
	if len(args) != 3 {
		t.Skip("is played by another test")
	}
	cache, err := OpenCache(args[0])
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.New(source.Config{CacheDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRibosome(RibosomeConfig{Cache: cache, Source: src})
	if err != nil {
		t.Fatal(err)
	}
	cell, err := manifest.NewCell(args[1], "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Build(t.Context(), Recipe{URL: args[1], Cell: cell, Commit: args[2], Build: manifest.Build{Command: []string{"cp", "big", "out"}, Output: "out"}})
	if err != nil {
		t.Fatal(err)
	}
}
