package source

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/manifest"
)

const linux = "linux/amd64"

func TestBinaryIsOfferedAndReadBack(t *testing.T) {
	for name, at := range map[string]string{
		"":                           "refs/cell/bin/",
		"receive.hideRefs=refs/cell": "refs/heads/cell/bin/",
	} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			r := exchange(t)
			if key, value, ok := strings.Cut(name, "="); ok {
				r.git("config", key, value)
			}
			commit := r.git("rev-parse", "HEAD")
			s := newSource(t, Config{SeedTTL: -1})
			cell, err := manifest.NewCell(r.dir, "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			if offer, object, err := s.Binary(t.Context(), r.dir, cell, commit, linux); offer != nil || object != "" || err != nil {
				t.Fatalf("before the first: %v, %q, %v", offer, object, err)
			}
			one := Offer{[]byte("signed"), bytes.Repeat([]byte{0, 0xff, '\n'}, 1<<16)}
			if err := s.PushBinary(t.Context(), r.dir, cell, commit, linux, one, ""); err != nil {
				t.Fatal(err)
			}
			offer, object, err := s.Binary(t.Context(), r.dir, cell, commit, linux)
			if err != nil || !bytes.Equal(offer.Binary, one.Binary) || !bytes.Equal(offer.Signed, one.Signed) {
				t.Fatalf("read back: %q, %v", object, err)
			}
			if have := r.git("rev-parse", at+commit+"/linux-amd64"); have != object {
				t.Errorf("it lies at %s, not at %s", have, object)
			}
			if other, _, err := s.Binary(t.Context(), r.dir, cell, commit, "linux/arm64"); other != nil || err != nil {
				t.Errorf("of another system: %v, %v", other, err)
			}
			var stale *StaleError
			if err := s.PushBinary(t.Context(), r.dir, cell, commit, linux, one, ""); !errors.As(err, &stale) {
				t.Errorf("over one that was not read: %v", err)
			}
		})
	}
}

func TestWhatIsNoOfferOfABinary(t *testing.T) {
	r := exchange(t)
	commit := r.git("rev-parse", "HEAD")
	s := newSource(t, Config{SeedTTL: -1})
	cell, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for what, files := range map[string]map[string]string{
		"there is no manifest and binary in it": {"binary": "x"},
		"manifest is":                           {"binary": "x", "manifest": strings.Repeat("x", maxSignedFile+1)},
	} {
		r.ref("refs/cell/bin/"+commit+"/linux-amd64", files)
		var content *ContentError
		if offer, _, err := s.Binary(t.Context(), r.dir, cell, commit, linux); offer != nil || !errors.As(err, &content) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v, %v; want %q", offer, err, what)
		}
	}
	for _, c := range [][2]string{{"v1.0.0", linux}, {commit, "linux"}, {commit, "../amd64"}, {commit, "linux/amd64/v3"}} {
		if _, _, err := s.Binary(t.Context(), r.dir, cell, c[0], c[1]); err == nil || !strings.Contains(err.Error(), "there is no binary of commit") {
			t.Errorf("%q: %v", c, err)
		}
	}
	if err := s.PushBinary(t.Context(), r.dir, cell, commit, linux, Offer{Binary: make([]byte, MaxBinary+1)}, ""); err == nil || !strings.Contains(err.Error(), "takes at most") {
		t.Errorf("one that is too large: %v", err)
	}
}
