package source

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// published is the Cell.json that a hub gives for exchange.
func published(t *testing.T, change func(*manifest.Published)) string {
	t.Helper()
	files := map[string][]byte{
		"Cell.toml": []byte(exchangeToml), "proto/exchange.proto": []byte(exchangeProto), "proto/money.proto": []byte(moneyProto),
	}
	fingerprint, err := manifest.Fingerprint(files, []string{"proto/exchange.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &manifest.Published{
		Name: "exchange", Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.0.0", Commit: strings.Repeat("ab", 20),
		Interface: manifest.PublishedInterface{Files: []string{"proto/exchange.proto"}, Fingerprint: fingerprint}, Files: files,
	}
	if change != nil {
		change(p)
	}
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func answer(kind string, status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestHubAnswersWithOneGet(t *testing.T) {
	srv := serve(t, exchange(t))
	var asked []string
	srv.cell = func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RequestURI()+" "+r.Header.Get("Accept")+r.Header.Get("Authorization"))
		body := published(t, nil)
		if strings.HasSuffix(r.URL.Path, "/instances.json") {
			body = seeds(0, "")
		}
		answer(MediaType+"; charset=utf-8", http.StatusOK, body)(w, r)
	}
	s := newSource(t, Config{Git: "/absent/git"})
	m, err := s.Manifest(t.Context(), srv.url(), "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	checkExchange(t, m, strings.Repeat("ab", 20))
	list, err := s.Seeds(t.Context(), strings.Replace(srv.url(), "http://", "http://token@", 1)+".git/", "v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	checkSeeds(t, list, 0)
	want := []string{"/acme/exchange/Cell.json?tag=v1.0.0 " + MediaType, "/acme/exchange/instances.json?tag=v1.0.0 " + MediaType}
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
	// It is cached like any other.
	srv.down.Store(true)
	if m, err := newSource(t, Config{CacheDir: s.cfg.CacheDir, Offline: true}).Manifest(t.Context(), srv.url(), "v1.0.0"); err != nil || !m.Stale {
		t.Errorf("%+v, %v", m, err)
	}
}

// Whatever else a host answers, git is asked, and its answer counts.
func TestAnyOtherAnswerMeansGit(t *testing.T) {
	elsewhere := httptest.NewServer(answer(MediaType, http.StatusOK, published(t, nil)))
	defer elsewhere.Close()
	r := exchange(t)
	commit := r.git("rev-parse", "HEAD")
	r.ref("refs/cell/seeds", map[string]string{"instances.json": seeds(1, "")})
	srv, cache := serve(t, r), t.TempDir()
	for name, cell := range map[string]http.HandlerFunc{
		"a page":             answer("text/html", http.StatusOK, "<html>"),
		"plain JSON":         answer("application/json", http.StatusOK, published(t, nil)),
		"no type":            answer("", http.StatusOK, published(t, nil)),
		"not found":          answer(MediaType, http.StatusNotFound, "{}"),
		"broken":             answer(MediaType, http.StatusOK, "{"),
		"too large":          answer(MediaType, http.StatusOK, strings.Repeat(" ", 17<<20)),
		"another tag":        answer(MediaType, http.StatusOK, published(t, func(p *manifest.Published) { p.Tag = "v2" })),
		"no commit":          answer(MediaType, http.StatusOK, published(t, func(p *manifest.Published) { p.Commit = "" })),
		"no files":           answer(MediaType, http.StatusOK, published(t, func(p *manifest.Published) { p.Files = nil })),
		"missing import":     answer(MediaType, http.StatusOK, published(t, func(p *manifest.Published) { delete(p.Files, "proto/money.proto") })),
		"another interface":  answer(MediaType, http.StatusOK, published(t, func(p *manifest.Published) { p.Interface.Fingerprint = strings.Repeat("a", 64) })),
		"sent elsewhere":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"sent in circles":    func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"never ending":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"list of other cell": answer(MediaType, http.StatusOK, seeds(0, otherCell)),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			srv.cell = cell
			s := newSource(t, Config{CacheDir: cache, SeedTTL: -1, HTTPWait: 300 * time.Millisecond})
			m, err := s.Manifest(t.Context(), srv.url(), "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			checkExchange(t, m, commit)
			list, err := s.Seeds(t.Context(), srv.url(), "v1.0.0")
			if err != nil {
				t.Fatal(err)
			}
			checkSeeds(t, list, 1)
		})
	}
}

func TestHostsThatDoNotSpeakItAreLeftInPeace(t *testing.T) {
	srv := serve(t, exchange(t))
	s := newSource(t, Config{SeedTTL: -1})
	clock := time.Now()
	s.now = func() time.Time { return clock }
	ask := func(want int32) {
		t.Helper()
		if _, err := s.Seeds(t.Context(), srv.url(), "v1.0.0"); err != nil {
			t.Fatal(err)
		}
		if got := srv.gets.Load(); got != want {
			t.Errorf("%d requests, want %d", got, want)
		}
	}
	ask(1)
	ask(1)
	clock = clock.Add(silence)
	ask(2)
}
