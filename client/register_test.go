package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// registerAlone registers a cell for this test alone.
func registerAlone(t *testing.T, list ...Registration) {
	t.Helper()
	registered.Lock()
	defer registered.Unlock()
	was := registered.list
	registered.list = list
	t.Cleanup(func() { registered.list = was })
}

func exampleRegistration() Registration {
	return Registration{
		Name: "exchange", Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0", Commit: strings.Repeat("a1", 20),
		Fingerprint: strings.Repeat("c3", 32), Trust: &Trust{Keys: []string{"ed25519:x"}, Threshold: 1, Version: 3},
		MaxLatency: 500 * time.Millisecond, AllowOpen: true, Share: true,
		Seeds: []Seed{{Peer: "12D3KooWA1b5mmeh9Q87eNCJbBEcKSDV6PDbQ6EkHNMxZpGJUk2L", Addrs: []string{"/ip4/203.0.113.7/tcp/40000/tls"}}},
	}
}

func TestARegisteredCellNeedsNoCellToml(t *testing.T) {
	registerAlone(t, exampleRegistration())
	t.Chdir(t.TempDir())
	c, err := New(Config{Home: filepath.Join(t.TempDir(), "h")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"exchange", "cell-hub.acme.com/acme/exchange@v1.3.0"} {
		r, err := c.Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		if r.Locked == nil || r.Locked.Commit != strings.Repeat("a1", 20) || len(r.Locked.Seeds) != 1 || r.Locked.Trust.Version != 3 ||
			r.Git != "https://cell-hub.acme.com/acme/exchange" || !r.Policy.AllowOpen || !r.Policy.Share || *r.Policy.MaxLatency != 500*time.Millisecond {
			t.Errorf("%s resolves to %+v", name, r)
		}
	}
}

// max_latency_ms = 0 says that every instance elsewhere is too far, which is not the same as no limit.
func TestARegisteredLimitOfZeroIsOne(t *testing.T) {
	for written, want := range map[time.Duration]string{-1: "0s", 0: "none", time.Second: "1s"} {
		r := exampleRegistration()
		r.MaxLatency = written
		got, err := r.resolve()
		if err != nil {
			t.Fatal(err)
		}
		limit := "none"
		if got.Policy.MaxLatency != nil {
			limit = got.Policy.MaxLatency.String()
		}
		if limit != want {
			t.Errorf("%v means %s, want %s", written, limit, want)
		}
	}
}

func TestAFolderThatIsAskedForComesBeforeWhatIsRegistered(t *testing.T) {
	registerAlone(t, exampleRegistration())
	dir := t.TempDir()
	text := "[cell.exchange]\ngit = \"https://example.org/other\"\ntag = \"v2\"\n"
	if err := os.WriteFile(filepath.Join(dir, "Cell.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Home: filepath.Join(t.TempDir(), "h"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Resolve("exchange"); err != nil || r.Cell.Tag != "v2" {
		t.Errorf("got %+v, %v, want the cell of the folder", r, err)
	}
}

func TestWhatPackagesDisagreeAboutIsSaid(t *testing.T) {
	other, stale, broken := exampleRegistration(), exampleRegistration(), exampleRegistration()
	other.Tag = "v2"
	stale.Fingerprint = strings.Repeat("d4", 32)
	broken.Seeds = []Seed{{Peer: "nobody"}}
	for want, list := range map[string][]Registration{
		"different cells \"exchange\": cell-hub.acme.com/acme/exchange@v1.3.0 and": {exampleRegistration(), other},
		"generated for cell-hub.acme.com/acme/exchange@v1.3.0 at different times":  {exampleRegistration(), stale},
		"generate its package again": {broken},
	} {
		registerAlone(t, list...)
		if _, err := resolveRegistered("exchange"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	registerAlone(t, exampleRegistration(), exampleRegistration())
	if r, err := resolveRegistered("exchange"); err != nil || r == nil {
		t.Errorf("the same cell twice: %v", err)
	}
	if r, err := resolveRegistered("ledger"); r != nil || err != nil {
		t.Errorf("a cell that nobody knows: %v, %v", r, err)
	}
}
