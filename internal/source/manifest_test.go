package source

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cellnode/cellnode/manifest"
)

func TestManifestOfARepositoryOnDisk(t *testing.T) {
	r := exchange(t)
	commit := r.git("rev-parse", "HEAD")
	s := newSource(t, Config{})
	for _, url := range []string{r.dir, "file://" + r.dir} {
		m, err := s.Manifest(t.Context(), url, "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		checkExchange(t, m, commit)
		if m.Cell.String() != "file:"+r.dir+"@v1.0.0" {
			t.Errorf("cell %v", m.Cell)
		}
	}
}

// checkExchange wants the cell that exchange made, whole, and nothing that it does not need.
func checkExchange(t *testing.T, m *Manifest, commit string) {
	t.Helper()
	if m.Commit != commit || m.File.Package.Name != "exchange" || m.Stale {
		t.Errorf("%+v, want commit %s", m, commit)
	}
	files := slices.Sorted(maps.Keys(m.Raw))
	if want := []string{"Cell.toml", "proto/exchange.proto", "proto/money.proto"}; !slices.Equal(files, want) {
		t.Errorf("files %q, want %q", files, want)
	}
	if string(m.Raw["Cell.toml"]) != exchangeToml || string(m.Raw["proto/money.proto"]) != moneyProto {
		t.Errorf("contents %q", m.Raw)
	}
	want, err := manifest.Fingerprint(m.Raw, []string{"proto/exchange.proto"}, nil)
	if err != nil || m.Fingerprint != want {
		t.Errorf("fingerprint %s, want %s, %v", m.Fingerprint, want, err)
	}
	const hash = "61ccd1f240a550a3b4c7b5a9090a663ed683acd1d25a423a9c1482e2ae540e7b"
	if m.ManifestHash != hash {
		t.Errorf("manifest hash %s, want %s", m.ManifestHash, hash)
	}
}

func TestRepositoryOnDiskSaysWhereItBelongs(t *testing.T) {
	r := exchange(t)
	r.write("Cell.toml", exchangeToml+"repository = \"https://cell-hub.acme.com/acme/exchange\"\n")
	r.commit("v1.0.1")
	m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1.0.1")
	if err != nil || m.Cell.String() != "cell-hub.acme.com/acme/exchange@v1.0.1" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestAnnotatedTagIsPeeled(t *testing.T) {
	r := exchange(t)
	commit := r.git("rev-parse", "HEAD")
	r.git("tag", "--annotate", "--message", "m", "v2")
	r.git("tag", "--annotate", "--message", "m", "v3", "v2") // a tag of a tag
	s := newSource(t, Config{})
	for _, tag := range []string{"v2", "v3"} {
		if got, err := s.Resolve(t.Context(), r.dir, tag); err != nil || got != commit {
			t.Errorf("Resolve(%s) = %s, %v; want %s", tag, got, err, commit)
		}
		m, err := s.Manifest(t.Context(), r.dir, tag)
		if err != nil {
			t.Fatal(err)
		}
		checkExchange(t, m, commit)
	}
}

func TestTagsWithSlashes(t *testing.T) {
	r := exchange(t)
	r.git("tag", "release/2.0")
	r.git("update-ref", "refs/heads/refs/tags/release/2.0", r.commit("")) // ends in the same name and is not it
	commit := r.git("show-ref", "--hash", "--verify", "refs/tags/release/2.0")
	m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "release/2.0")
	if err != nil {
		t.Fatal(err)
	}
	checkExchange(t, m, commit)
}

func TestSHA256Repositories(t *testing.T) {
	r := makeExchange(t, "--object-format=sha256")
	commit := r.git("rev-parse", "HEAD")
	m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1.0.0")
	if err != nil || len(commit) != 64 {
		t.Fatal(err)
	}
	checkExchange(t, m, commit)
}

func TestMissingTagNamesTheNearest(t *testing.T) {
	r := exchange(t)
	for _, tag := range []string{"v1.0.1", "v1.1.0", "v2.0.0", "other"} {
		r.git("tag", tag)
	}
	s := newSource(t, Config{})
	for _, read := range []func() error{
		func() error { _, err := s.Manifest(t.Context(), r.dir, "v1.0.9"); return err },
		func() error { _, err := s.Resolve(t.Context(), r.dir, "v1.0.9"); return err },
		func() error { _, err := s.Seeds(t.Context(), r.dir, "v1.0.9"); return err },
	} {
		err := read()
		var missing *NoTagError
		if !errors.As(err, &missing) || !slices.Equal(missing.Nearest, []string{"v1.0.1", "v1.0.0", "v1.1.0"}) {
			t.Errorf("%v", err)
		}
	}
}

func TestMovedTag(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{})
	before, err := s.Manifest(t.Context(), r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	r.write("Cell.toml", exchangeToml+"description = \"moved\"\n")
	moved := r.commit("v1.0.0")
	after, err := s.Manifest(t.Context(), r.dir, "v1.0.0")
	if err != nil || after.Commit != moved || after.File.Package.Description != "moved" {
		t.Fatalf("%+v, %v", after, err)
	}
	var e *MovedError
	if err := CheckCommit(after.Cell, before.Commit, after.Commit); !errors.As(err, &e) || e.Want != before.Commit || e.Have != moved ||
		!strings.Contains(err.Error(), before.Commit) || !strings.Contains(err.Error(), moved) {
		t.Errorf("%v", err)
	}
	if CheckCommit(after.Cell, moved, moved) != nil || CheckCommit(after.Cell, "", moved) != nil {
		t.Error("a tag that did not move is an error")
	}
	// The old commit is still in the cache; one that never was is not at the tag.
	if m, err := s.ManifestAt(t.Context(), r.dir, "v1.0.0", before.Commit); err != nil || m.Commit != before.Commit {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := s.ManifestAt(t.Context(), r.dir, "v1.0.0", strings.Repeat("a", 40)); !errors.As(err, &e) {
		t.Errorf("%v", err)
	}
	if _, err := s.ManifestAt(t.Context(), r.dir, "v1.0.0", "../x"); err == nil {
		t.Error("a path is a commit")
	}
}

// A tag that moves between the question and the fetch is asked for again, and its name never stands for another commit.
func TestTagThatMovesWhileItIsRead(t *testing.T) {
	r := exchange(t)
	first := r.git("rev-parse", "HEAD")
	second := r.commit("")
	flag := filepath.Join(t.TempDir(), "moved")
	git := script(t, `git "$@" || exit
case " $* " in *" ls-remote "*) [ -e `+flag+` ] || { touch `+flag+`; git -C `+r.dir+` update-ref refs/tags/v1.0.0 `+second+`; };; esac
`)
	s := newSource(t, Config{Git: git})
	m, err := s.Manifest(t.Context(), r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	checkExchange(t, m, second)
	r.git("tag", "--force", "v1.0.0", first)
	if m, err = s.Manifest(t.Context(), r.dir, "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	checkExchange(t, m, first)
}

// Once read, a manifest is there for good: the host may be gone.
func TestManifestOutlivesItsHost(t *testing.T) {
	srv := serve(t, exchange(t))
	s := newSource(t, Config{})
	fresh, err := s.Manifest(t.Context(), srv.url(), "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	srv.down.Store(true)
	for name, s := range map[string]*Source{
		"same process": s, "next process": newSource(t, s.cfg),
		"offline": newSource(t, Config{CacheDir: s.cfg.CacheDir, Offline: true}),
		"no git":  newSource(t, Config{CacheDir: s.cfg.CacheDir, Offline: true, Git: "/absent"}),
	} {
		m, err := s.Manifest(t.Context(), srv.url(), "v1.0.0")
		if err != nil || !m.Stale || m.Commit != fresh.Commit || m.Fingerprint != fresh.Fingerprint {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		if m, err := s.ManifestAt(t.Context(), srv.url(), "v1.0.0", fresh.Commit); err != nil || m.Stale {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
	var host *UnreachableError
	if _, err := s.Resolve(t.Context(), srv.url(), "v1.0.0"); !errors.As(err, &host) {
		t.Errorf("Resolve of a dead host: %v", err)
	}
	if _, err := s.Manifest(t.Context(), srv.url(), "v1.0.1"); !errors.As(err, &host) {
		t.Errorf("another tag of a dead host: %v", err)
	}
}

func TestOfflineAsksNobody(t *testing.T) {
	srv := serve(t, exchange(t))
	s := newSource(t, Config{Offline: true})
	_, resolve := s.Resolve(t.Context(), srv.url(), "v1.0.0")
	_, read := s.Manifest(t.Context(), srv.url(), "v1.0.0")
	_, at := s.ManifestAt(t.Context(), srv.url(), "v1.0.0", strings.Repeat("a", 40))
	_, seeds := s.Seeds(t.Context(), srv.url(), "v1.0.0")
	for _, err := range []error{resolve, read, at, seeds} {
		if !errors.Is(err, ErrOffline) {
			t.Errorf("%v", err)
		}
	}
	if srv.gets.Load()+srv.posts.Load() != 0 {
		t.Error("the network was used")
	}
	if _, err := s.Manifest(t.Context(), srv.repo.dir, "v1.0.0"); err != nil {
		t.Errorf("a repository on disk needs no network: %v", err)
	}
}

func TestDamagedCacheIsReadAnew(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{})
	m, err := s.Manifest(t.Context(), r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	path := s.commitPath(cell, m.Commit)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string]string{
		"empty":   "",
		"cut":     string(whole[:len(whole)/2]),
		"changed": strings.Replace(string(whole), m.Commit, strings.Repeat("a", 40), 1),
		"other":   strings.Replace(string(whole), `"proto/money.proto"`, `"proto/monex.proto"`, 1),
		"nothing": "{}",
	} {
		if damaged == string(whole) {
			t.Fatalf("%s: not damaged", name)
		}
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := s.Manifest(t.Context(), r.dir, "v1.0.0")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkExchange(t, again, m.Commit)
		if now, err := os.ReadFile(path); err != nil || string(now) != string(whole) {
			t.Errorf("%s: the entry was not mended, %v", name, err)
		}
	}
}

func TestCacheMayBeDeletedAtAnyTime(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{})
	for _, part := range []string{"", "git", "manifests", "tags"} {
		if _, err := s.Manifest(t.Context(), r.dir, "v1.0.0"); err != nil {
			t.Fatalf("after %q: %v", part, err)
		}
		if err := os.RemoveAll(filepath.Join(s.cfg.CacheDir, part)); err != nil {
			t.Fatal(err)
		}
	}
}

// A cached repository that is broken is made anew.
func TestBrokenCachedRepositoryIsMadeAnew(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{})
	if _, err := s.Manifest(t.Context(), r.dir, "v1.0.0"); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(s.cfg.CacheDir, "git", "*", "objects", "pack", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	for _, p := range packs {
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(s.cfg.CacheDir, "manifests")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(t.Context(), r.dir, "v1.0.0"); err != nil {
		t.Error(err)
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	r := exchange(t)
	commit := r.git("rev-parse", "HEAD")
	r.git("tag", "v1.0.1")
	dir := filepath.Join(t.TempDir(), "cache")
	var readers sync.WaitGroup
	for i := range 6 {
		s := newSource(t, Config{CacheDir: dir}) // as several processes
		readers.Go(func() {
			m, err := s.Manifest(t.Context(), r.dir, []string{"v1.0.0", "v1.0.1"}[i%2])
			if err != nil {
				t.Error(err)
				return
			}
			checkExchange(t, m, commit)
		})
	}
	readers.Wait()
}

func TestCellsWithoutInterface(t *testing.T) {
	r := newRepo(t)
	r.write("Cell.toml", "[package]\nname = \"raw\"\n")
	r.commit("v1")
	m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1")
	if err != nil || m.Fingerprint != "" || len(m.Raw) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}
