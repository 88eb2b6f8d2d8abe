package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// MediaType is what a host answers with that serves cells over plain GET. Any other answer means: ask git.
const MediaType = "application/vnd.cell+json"

// silence is how long a host that does not speak cell+json is not asked again.
const silence = 10 * time.Minute

// hub asks hosts for Cell.json and instances.json.
type hub struct {
	client *http.Client

	mu     sync.Mutex
	silent map[string]time.Time // by repository URL: until when it is not asked
}

func newHub(c Config) *hub {
	client := &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true, // one GET in a minute: a connection kept would only be one to leak
		MaxResponseHeaderBytes: 64 << 10,
	}}
	if c.HTTP != nil {
		*client = *c.HTTP
	}
	client.Jar = nil // no cookies, no login: a host that wants one is git's to talk to
	client.CheckRedirect = sameHost
	return &hub{client: client, silent: map[string]time.Time{}}
}

// sameHost follows redirects on the host that was asked, without changing the scheme.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) > 3 || req.URL.Host != via[0].URL.Host || req.URL.Scheme != via[0].URL.Scheme {
		return http.ErrUseLastResponse
	}
	return nil
}

// errNotHub says that a host answered, but not in cell+json.
var errNotHub = errors.New("does not speak " + MediaType)

// hubGet is one GET of name beside the repository at repo. A failure of any kind is answered by asking git.
func (s *Source) hubGet(ctx context.Context, repo, name, tag string, limit int64) ([]byte, bool) {
	base, ok := hubBase(repo)
	if !ok || s.hub.isSilent(base, s.now()) {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.HTTPWait)
	defer cancel()
	data, err := s.hub.get(ctx, base+"/"+name+"?tag="+url.QueryEscape(tag), limit)
	if errors.Is(err, errNotHub) {
		s.hub.quiet(base, s.now())
	}
	if err != nil {
		s.cfg.Log.Debug("asking git instead", "url", base, "file", name, "err", err)
	}
	return data, err == nil
}

// hubBase is the address that Cell.json stands below: without the user, and without .git.
func hubBase(repo string) (string, bool) {
	if !strings.HasPrefix(repo, "https://") && !strings.HasPrefix(repo, "http://") {
		return "", false
	}
	return strings.TrimSuffix(strings.TrimRight(shown(repo), "/"), ".git"), true
}

func (h *hub) isSilent(base string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.silent[base])
}

func (h *hub) quiet(base string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for b, until := range h.silent {
		if !now.Before(until) {
			delete(h.silent, b)
		}
	}
	h.silent[base] = now.Add(silence)
}

func (h *hub) get(ctx context.Context, address string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", MediaType)
	res, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || kind != MediaType {
		return nil, errNotHub
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", res.Status)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return data, err
}

// hubEntry is what a host's Cell.json says, if it says everything: the commit and the files themselves. What it derives
// from them has to agree with what we derive.
func (s *Source) hubEntry(ctx context.Context, repo string, cell manifest.Cell) (commitEntry, bool) {
	data, ok := s.hubGet(ctx, repo, "Cell.json", cell.Tag, manifest.MaxPublishedSize)
	if !ok {
		return commitEntry{}, false
	}
	e, err := publishedEntry(data, repo, cell)
	if err != nil {
		s.cfg.Log.Warn("asking git instead: the host's Cell.json is of no use", "url", shown(repo), "err", err)
	}
	return e, err == nil
}

func publishedEntry(data []byte, repo string, cell manifest.Cell) (commitEntry, error) {
	p, err := manifest.ParsePublished("Cell.json", data)
	if err != nil {
		return commitEntry{}, err
	}
	if p.Tag != cell.Tag {
		return commitEntry{}, fmt.Errorf("it is for the tag %q", p.Tag)
	}
	if p.Commit == "" || p.Files[cellFile] == nil {
		return commitEntry{}, errors.New("it carries no commit or no Cell.toml")
	}
	e := commitEntry{Commit: p.Commit, Files: p.Files}
	m, err := assemble(e, repo, cell)
	if err != nil {
		return commitEntry{}, err
	}
	if m.Fingerprint != p.Interface.Fingerprint {
		return commitEntry{}, fmt.Errorf("it says fingerprint %s, its files have %s", p.Interface.Fingerprint, m.Fingerprint)
	}
	return e, nil
}
