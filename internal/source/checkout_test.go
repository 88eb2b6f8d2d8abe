package source

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheckoutSaysWhatItIs(t *testing.T) {
	r := exchange(t)
	r.write("Cell.toml", exchangeToml+"repository = \"https://cell-hub.acme.com/acme/exchange\"\n")
	commit := r.commit("v1.0.1")
	m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1.0.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{r.dir, filepath.Join(r.dir, "proto")} {
		c, err := ReadCheckout(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if c.Dir != r.dir || c.Commit != commit || c.Cell != m.Cell || c.Fingerprint != m.Fingerprint {
			t.Errorf("%+v differs from the repository's %+v", c, m)
		}
	}
}

func TestCheckoutWithoutRepositoryTakesItsOrigin(t *testing.T) {
	r := exchange(t)
	if _, err := ReadCheckout(t.Context(), r.dir); err == nil || !strings.Contains(err.Error(), "write repository =") {
		t.Errorf("%v", err)
	}
	r.git("remote", "add", "origin", "git@github.com:Acme/Exchange.git")
	c, err := ReadCheckout(t.Context(), r.dir)
	if err != nil || c.Cell.String() != "github.com/acme/exchange@v1.0.0" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCheckoutsThatCannotBeNamedAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(r *repo)
		want   string
	}{
		"changed":      {func(r *repo) { r.write("README.md", "x") }, "differs from its commit (M README.md)"},
		"no tag":       {func(r *repo) { r.git("tag", "--delete", "v1.0.0") }, "has no tag"},
		"two tags":     {func(r *repo) { r.git("tag", "v1.0.1") }, "has several tags (v1.0.0, v1.0.1)"},
		"broken":       {func(r *repo) { r.write("Cell.toml", "x") }, "is not TOML"},
		"no interface": {func(r *repo) { r.git("rm", "--quiet", "proto/exchange.proto") }, "interface file is not there"},
	} {
		r := exchange(t)
		r.git("remote", "add", "origin", "git@github.com:Acme/Exchange.git")
		tt.change(r)
		if c, err := ReadCheckout(t.Context(), r.dir); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want %s", name, c, err, tt.want)
		}
	}
	if _, err := ReadCheckout(t.Context(), t.TempDir()); !errors.Is(err, ErrNoPackage) {
		t.Errorf("%v", err)
	}
	if _, err := OpenCheckout(t.TempDir()); !errors.Is(err, ErrNoPackage) {
		t.Errorf("%v", err)
	}
}
