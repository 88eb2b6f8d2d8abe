package source

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

var peers = []string{
	"12D3KooWA1b5mmeh9Q87eNCJbBEcKSDV6PDbQ6EkHNMxZpGJUk2L",
	"12D3KooWBeaf8Zm8bUkQPLLKUVAkuuHKEWhnWgiDKyp6dRgKQ4F8",
	"12D3KooWSMrUrVCQEfpRRAqCFYoCNLfGRZJcPpTPN4h4aWCLUTLY",
}

// seeds is a seed list with one peer, for a cell or for whatever it lies beside.
func seeds(peer int, cell string) string {
	if cell != "" {
		cell = fmt.Sprintf(`"cell": %q, `, cell)
	}
	return fmt.Sprintf(`{%s"instances": [{"peer": %q, "addrs": ["/ip4/203.0.113.7/udp/40000/quic-v1"]}]}`, cell, peers[peer])
}

func TestSeedsAreReadInOrder(t *testing.T) {
	type files = map[string]string
	for name, tt := range map[string]struct {
		tag    files // at the tag
		ref    files // at refs/cell/seeds
		branch files // at the branch cell/seeds
		want   int   // peer; -1: empty
	}{
		"nowhere":                    {want: -1},
		"file at the tag":            {tag: files{"instances.json": seeds(0, "")}, want: 0},
		"its older name":             {tag: files{"Cells.json": seeds(0, "")}, want: 0},
		"new name first":             {tag: files{"instances.json": seeds(0, ""), "Cells.json": seeds(1, "")}, want: 0},
		"ref before file":            {tag: files{"instances.json": seeds(0, "")}, ref: files{"instances.json": seeds(1, "")}, want: 1},
		"branch before file":         {tag: files{"instances.json": seeds(0, "")}, branch: files{"instances.json": seeds(1, "")}, want: 1},
		"ref before branch":          {ref: files{"instances.json": seeds(1, "")}, branch: files{"instances.json": seeds(2, "")}, want: 1},
		"list of the tag first":      {ref: files{"instances.json": seeds(0, ""), "v1.0.0/instances.json": seeds(1, "")}, want: 1},
		"empty ref, file":            {tag: files{"instances.json": seeds(0, "")}, ref: files{"other": "x"}, want: 0},
		"broken ref, file":           {tag: files{"instances.json": seeds(0, "")}, ref: files{"instances.json": "{"}, want: 0},
		"ref for another cell, file": {tag: files{"instances.json": seeds(0, "")}, ref: files{"instances.json": seeds(1, otherCell)}, want: 0},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			r := exchange(t)
			for path, text := range tt.tag {
				r.write(path, text)
			}
			r.commit("v1.0.0")
			if tt.ref != nil {
				r.ref("refs/cell/seeds", tt.ref)
			}
			if tt.branch != nil {
				r.ref("refs/heads/cell/seeds", tt.branch)
			}
			list, err := newSource(t, Config{}).Seeds(t.Context(), r.dir, "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			checkSeeds(t, list, tt.want)
		})
	}
}

const otherCell = "bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm"

func checkSeeds(t *testing.T, list *manifest.SeedList, want int) {
	t.Helper()
	if !list.Cell.Defined() {
		t.Errorf("the list does not say for which cell it is")
	}
	switch {
	case want < 0 && len(list.Instances) == 0:
	case want >= 0 && len(list.Instances) == 1 && list.Instances[0].Peer.String() == peers[want]:
	default:
		t.Errorf("got %+v, want peer %d", list.Instances, want)
	}
}

func TestBadSeedListsAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"{":                             "instances.json:1: is not JSON",
		seeds(0, otherCell):             "instances.json is for the cell " + otherCell,
		`{"instances": [], "extra": 1}`: "extra is not a known key",
		strings.Repeat(" ", 1+manifest.MaxSeedListSize): "instances.json is 16777217 bytes",
	} {
		r := exchange(t)
		r.write("instances.json", text)
		r.commit("v1.0.0")
		_, err := newSource(t, Config{}).Seeds(t.Context(), r.dir, "v1.0.0")
		var ce *ContentError
		if !errors.As(err, &ce) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: %v, want %s", text, err, want)
		}
	}
	r := exchange(t)
	r.write("x", seeds(0, ""))
	r.link("instances.json", "x")
	r.commit("v1.0.0")
	if _, err := newSource(t, Config{}).Seeds(t.Context(), r.dir, "v1.0.0"); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("%v", err)
	}
}

func TestSeedsNameTheirCell(t *testing.T) {
	r := exchange(t)
	r.write("Cell.toml", exchangeToml+"repository = \"https://cell-hub.acme.com/acme/exchange\"\n")
	belongs, err := manifest.NewCell("https://cell-hub.acme.com/acme/exchange", "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	onDisk, err := manifest.NewCell(r.dir, "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []string{belongs.ID().String(), onDisk.ID().String(), ""} {
		r.write("instances.json", seeds(0, id))
		r.commit("v1.0.0")
		list, err := newSource(t, Config{}).Seeds(t.Context(), r.dir, "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		checkSeeds(t, list, 0)
		if want := []manifest.Cell{belongs, onDisk, belongs}[i].ID(); list.Cell != want {
			t.Errorf("%q: the list is for %s, want %s", id, list.Cell, want)
		}
	}
}

func TestSeedsAreKeptForAMinute(t *testing.T) {
	r := exchange(t)
	r.ref("refs/cell/seeds", map[string]string{"instances.json": seeds(0, "")})
	srv := serve(t, r)
	s := newSource(t, Config{})
	clock := time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return clock }
	read := func(want int) {
		t.Helper()
		list, err := s.Seeds(t.Context(), srv.url(), "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		checkSeeds(t, list, want)
	}
	read(0)
	asked := srv.posts.Load()
	r.ref("refs/cell/seeds", map[string]string{"instances.json": seeds(1, "")})
	clock = clock.Add(59 * time.Second)
	read(0)
	if srv.posts.Load() != asked {
		t.Error("the host was asked within the minute")
	}
	clock = clock.Add(time.Second)
	read(1)

	// Unchanged refs are asked for and nothing is fetched.
	clock = clock.Add(time.Minute)
	asked = srv.posts.Load()
	read(1)
	if n := srv.posts.Load() - asked; n != 1 {
		t.Errorf("%d requests for an unchanged list, want the one for the refs", n)
	}

	// A dead host leaves what is known, however old.
	srv.down.Store(true)
	clock = clock.Add(1000 * time.Hour)
	read(1)
	s = newSource(t, Config{CacheDir: s.cfg.CacheDir, Offline: true})
	read(1)

	// A clock that went backwards does not make an old list young.
	srv.down.Store(false)
	r.ref("refs/cell/seeds", map[string]string{"instances.json": seeds(2, "")})
	s = newSource(t, Config{CacheDir: s.cfg.CacheDir})
	s.now = func() time.Time { return clock.Add(-2000 * time.Hour) }
	read(2)
}

func TestSeedsOfADeadHostAreAnError(t *testing.T) {
	srv := serve(t, exchange(t))
	srv.down.Store(true)
	_, err := newSource(t, Config{}).Seeds(t.Context(), srv.url(), "v1.0.0")
	var host *UnreachableError
	if !errors.As(err, &host) {
		t.Errorf("%v", err)
	}
}

// A mirror carries the cell of the repository that it mirrors.
func TestMirrors(t *testing.T) {
	r := exchange(t)
	cell, err := manifest.NewCell("https://cell-hub.acme.com/acme/exchange", "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	r.ref("refs/cell/seeds", map[string]string{"instances.json": seeds(0, cell.ID().String())})
	dead, mirror := serve(t, r), serve(t, r)
	dead.down.Store(true)
	s := newSource(t, Config{SeedTTL: -1})
	for range 2 { // the second time the mirror is dead too
		m, err := s.ManifestFrom(t.Context(), cell, dead.url(), mirror.url())
		if err != nil || m.Cell != cell || m.Stale != mirror.down.Load() {
			t.Fatalf("%+v, %v", m, err)
		}
		list, err := s.SeedsFrom(t.Context(), cell, dead.url(), mirror.url())
		if err != nil {
			t.Fatal(err)
		}
		checkSeeds(t, list, 0)
		mirror.down.Store(true)
	}
	if _, err := s.ManifestFrom(t.Context(), cell, mirror.url(), "ext::sh -c id"); err == nil || !strings.Contains(err.Error(), "remote helper") {
		t.Errorf("%v", err)
	}
	if _, err := s.SeedsFrom(t.Context(), manifest.Cell{Repository: "h/a", Tag: "v1"}); err == nil {
		t.Error("a list was read from nowhere")
	}
	// A mirror that lags behind does not have the last word.
	empty := newRepo(t)
	empty.write("x", "x")
	empty.commit("")
	if m, err := s.ManifestFrom(t.Context(), cell, empty.dir, r.dir); err != nil || m.Cell != cell || m.Stale {
		t.Errorf("%+v, %v", m, err)
	}
}
