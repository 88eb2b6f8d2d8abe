package source

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// gitServer is git's smart HTTP on loopback for one repository, and optionally the files of a host that speaks cell+json.
type gitServer struct {
	*httptest.Server
	repo   *repo
	config []string // for upload-pack, as after -c
	v0     bool     // do not let the client choose protocol version 2
	down   atomic.Bool
	posts  atomic.Int32
	gets   atomic.Int32     // of Cell.json and instances.json
	cell   http.HandlerFunc // answers these; nil: not found
}

func serve(t testing.TB, r *repo, config ...string) *gitServer {
	s := &gitServer{repo: r, config: config}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *gitServer) url() string { return s.URL + "/acme/exchange" }

func (s *gitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, ok := strings.CutPrefix(r.URL.Path, "/acme/exchange")
	switch {
	case s.down.Load():
		http.Error(w, "down", http.StatusBadGateway)
	case ok && path == "/info/refs" && r.URL.Query().Get("service") == "git-upload-pack":
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		fmt.Fprint(w, "001e# service=git-upload-pack\n0000")
		s.uploadPack(w, r, "--advertise-refs")
	case ok && path == "/git-upload-pack" && r.Method == http.MethodPost:
		s.posts.Add(1)
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		s.uploadPack(w, r)
	case ok && (path == "/Cell.json" || path == "/instances.json"):
		s.gets.Add(1)
		if s.cell == nil {
			http.NotFound(w, r)
			return
		}
		s.cell(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *gitServer) uploadPack(w io.Writer, r *http.Request, args ...string) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return
		}
		body = z
	}
	var all []string
	for _, c := range s.config {
		all = append(all, "-c", c)
	}
	all = append(all, "upload-pack", "--stateless-rpc")
	cmd := exec.CommandContext(r.Context(), "git", append(append(all, args...), s.repo.dir)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1"}
	if !s.v0 {
		cmd.Env = append(cmd.Env, "GIT_PROTOCOL="+r.Header.Get("Git-Protocol"))
	}
	cmd.Stdin, cmd.Stdout = body, w
	_ = cmd.Run() // the client sees what is missing
}
