package source

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

func seedList(t *testing.T, cell manifest.Cell, members ...int) *manifest.SeedList {
	t.Helper()
	l := &manifest.SeedList{Cell: cell.ID(), Updated: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), Instances: []manifest.Seed{}}
	for _, m := range members {
		one, err := manifest.ParseSeedList("", []byte(seeds(m, "")))
		if err != nil {
			t.Fatal(err)
		}
		l.Instances = append(l.Instances, one.Instances...)
	}
	return l
}

func listed(t *testing.T, s *Source, url string, cell manifest.Cell, want int) string {
	t.Helper()
	list, at, err := s.PublishedSeeds(t.Context(), url, cell)
	if err != nil {
		t.Fatal(err)
	}
	if list == nil || len(list.Instances) != want {
		t.Fatalf("published: %v, want %d instances", list, want)
	}
	return at
}

func TestSeedListIsWrittenAndReplaced(t *testing.T) {
	for name, hooks := range map[string]string{
		"":                           "refs/cell/seeds",
		"receive.hideRefs=refs/cell": "refs/heads/cell/seeds",
	} {
		t.Run(strings.ReplaceAll(hooks, "/", "_"), func(t *testing.T) {
			r := exchange(t)
			if key, value, ok := strings.Cut(name, "="); ok {
				r.git("config", key, value)
			}
			s := newSource(t, Config{SeedTTL: -1})
			cell, err := manifest.NewCell(r.dir, "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			list, at, err := s.PublishedSeeds(t.Context(), r.dir, cell)
			if list != nil || at != "" || err != nil {
				t.Fatalf("before the first push: %v, %q, %v", list, at, err)
			}
			head := r.git("rev-parse", "HEAD")
			if err := s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 0, 1), at); err != nil {
				t.Fatal(err)
			}
			at = listed(t, s, r.dir, cell, 2)
			if err := s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 2), at); err != nil {
				t.Fatal(err)
			}
			if now := listed(t, s, r.dir, cell, 1); now == at {
				t.Error("the ref has not moved")
			}
			if parents := r.git("rev-list", "--parents", "-n1", hooks); len(strings.Fields(parents)) != 1 {
				t.Errorf("the commit has parents: %s", parents)
			}
			if now := r.git("rev-parse", "HEAD"); now != head {
				t.Errorf("HEAD moved from %s to %s", head, now)
			}
			read, err := s.Seeds(t.Context(), r.dir, "v1.0.0")
			if err != nil || len(read.Instances) != 1 {
				t.Errorf("a reader gets %v, %v", read, err)
			}
		})
	}
}

func TestListsOfOtherTagsStay(t *testing.T) {
	r := exchange(t)
	r.ref("refs/cell/seeds", map[string]string{"v0.9.0/instances.json": seeds(0, ""), "README": "x"})
	s := newSource(t, Config{})
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	_, at, err := s.PublishedSeeds(t.Context(), r.dir, cell)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 1), at); err != nil {
		t.Fatal(err)
	}
	names := r.git("ls-tree", "-r", "--name-only", "refs/cell/seeds")
	for _, want := range []string{"README", "v0.9.0/instances.json", "v1.0.0/instances.json"} {
		if !strings.Contains(names, want) {
			t.Errorf("%s is gone; there are %s", want, names)
		}
	}
}

func TestOfTwoWritersOneIsTold(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{})
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 0), ""); err != nil {
		t.Fatal(err)
	}
	var stale *StaleError
	if err := s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 1), ""); !errors.As(err, &stale) {
		t.Fatalf("the second writer gets %v, want a StaleError", err)
	}
	list, _, err := s.PublishedSeeds(t.Context(), r.dir, cell)
	if err != nil || list.Instances[0].Peer.String() != peers[0] {
		t.Errorf("the list is %v, %v: want the first writer's", list, err)
	}
}

func TestAHostThatRefusesIsNamed(t *testing.T) {
	r := exchange(t)
	hook := filepath.Join(r.dir, ".git", "hooks", "pre-receive")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSource(t, Config{})
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	err = s.PushSeeds(t.Context(), r.dir, cell, seedList(t, cell, 0), "")
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "pre-receive hook declined") {
		t.Errorf("got %v", err)
	}
}

func TestTrustDocumentIsWrittenAndReadBack(t *testing.T) {
	r := exchange(t)
	s := newSource(t, Config{SeedTTL: -1})
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	document, at, err := s.Trust(t.Context(), r.dir, cell)
	if document != nil || at != "" || err != nil {
		t.Fatalf("before the first push: %v, %q, %v", document, at, err)
	}
	key, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	first := record.FirstTrust(cell.Repository, manifest.Trust{Keys: []string{manifest.FormatKey(raw)}})
	first.Version, first.Issued, first.Expires = 1, time.Now(), time.Now().Add(time.Hour)
	one, err := document.Append(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PushTrust(t.Context(), r.dir, cell, one, at); err != nil {
		t.Fatal(err)
	}
	var stale *StaleError
	if err := s.PushTrust(t.Context(), r.dir, cell, one, at); !errors.As(err, &stale) || !strings.Contains(err.Error(), "trust document") {
		t.Errorf("over one that was not read: %v", err)
	}
	if document, at, err = s.Trust(t.Context(), r.dir, cell); err != nil || at == "" || document.Text() != one.Text() {
		t.Errorf("read back: %v, %q, %v", document, at, err)
	}
	if list, _, err := s.PublishedSeeds(t.Context(), r.dir, cell); list != nil || err != nil {
		t.Errorf("the seed list beside it: %v, %v", list, err)
	}
	r.git("update-ref", "refs/cell/trust", "HEAD")
	var content *ContentError
	if _, _, err := s.Trust(t.Context(), r.dir, cell); !errors.As(err, &content) {
		t.Errorf("a ref without the file: %v", err)
	}
}
