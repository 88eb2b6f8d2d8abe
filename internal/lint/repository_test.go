package lint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var root = filepath.Join("..", "..")

func TestTheRepositoryKeepsItsRules(t *testing.T) {
	tree, err := Load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) < 20 {
		t.Fatalf("the tree has %d files: this is not the repository", len(tree.Files))
	}
	for _, f := range Check(tree) {
		t.Error(f)
	}
}

func TestTheImportTableIsSound(t *testing.T) {
	for _, wrong := range tableErrors(Rooms) {
		t.Error(wrong)
	}
}

func TestDHTAndGossipDoNotKnowEachOther(t *testing.T) {
	if under(Rooms, "dht")["gossip"] || under(Rooms, "gossip")["dht"] {
		t.Error("the import table lets one of dht and gossip import the other")
	}
}

func TestClientAndOverlayMeetOnlyInEmbed(t *testing.T) {
	for _, r := range Rooms {
		below := under(Rooms, r.Dir)
		if below["client"] && below["overlay"] && !below["overlay/embed"] && r.Dir != "simulations" {
			t.Errorf("%s stands on both client and overlay", r.Dir)
		}
	}
}

func TestThinPackagesStayThin(t *testing.T) {
	for _, w := range Weights {
		if _, err := os.Stat(filepath.Join(root, w.Of)); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s has a weight but no folder", w.Of)
			continue
		}
		cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Module", "./"+w.Of)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("go list: %v", err)
			continue
		}
		deps, err := ReadPackages(bytes.NewReader(out))
		if err != nil {
			t.Error(err)
		}
		if len(deps) < 50 {
			t.Errorf("%s has %d dependencies: go list did not look at the right thing", w.Of, len(deps))
		}
		for _, f := range w.Check(deps) {
			t.Error(f)
		}
	}
}
