//go:build unix

package spawn

import (
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
)

var kills = flag.Int("kills", 10, "how often TestAKilledBuilderLeavesTheCacheWhole kills")

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
