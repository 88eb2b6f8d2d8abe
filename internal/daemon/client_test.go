package daemon

import (
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
)

func TestANodeThatHasGoneIsNamedByItsSocket(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "s"))
	defer c.Close()
	_, err := c.Status(t.Context())
	if !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), c.socket) || strings.Contains(err.Error(), "http://") {
		t.Errorf("error %v", err)
	}
}

func TestAnAnswerThatIsNotTheAPIsIsUnreachable(t *testing.T) {
	for _, answer := range []string{"", "404 page not found", `{"error": "", "code": 2}`, `{"error": "x", "code": 0}`, `{"error": "x", "code": 77}`} {
		c := foreign(t, http.StatusTeapot, answer)
		_, err := c.Status(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Code != codeUnreachable || !strings.Contains(e.Message, "418") {
			t.Errorf("%q: %v", answer, err)
		}
	}
	c := foreign(t, http.StatusOK, "not JSON")
	if _, err := c.Status(t.Context()); err == nil || !strings.Contains(err.Error(), c.socket) {
		t.Errorf("error %v", err)
	}
	if err := c.Watch(t.Context(), Query{}, nil); err == nil || !strings.Contains(err.Error(), c.socket) {
		t.Errorf("error %v", err)
	}
}

// foreign is a client of something that gives every request one answer.
func foreign(t *testing.T, status int, answer string) *Client {
	t.Helper()
	s, c := serve(t, ServerConfig{})
	s.Close()
	l, err := net.Listen("unix", c.socket)
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	})}
	ended := make(chan error, 1)
	go func() { ended <- other.Serve(l) }()
	t.Cleanup(func() {
		other.Close()
		<-ended
	})
	return c
}

const aPeer = "12D3KooWQcf3BzWdW7ABop6HfA8ccnEoD8SLFGFkJna2jzbyNhQX"

func TestSeedsCrossTheAPIAndWhatCannotBeDialledIsLeftOut(t *testing.T) {
	id, err := peer.Decode(aPeer)
	if err != nil {
		t.Fatal(err)
	}
	seeds := []manifest.Seed{{Peer: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/192.0.2.7/udp/40000/quic-v1")}}}
	sent := NewSeeds(seeds)
	sent[0].Addrs = append(sent[0].Addrs, "nowhere")
	got := ParseSeeds(append(sent, Seed{Peer: "nobody", Addrs: sent[0].Addrs}))
	if asJSON(t, got) != asJSON(t, seeds) {
		t.Errorf("%s came as %s", asJSON(t, seeds), asJSON(t, got))
	}
}

func TestAnInstanceWithoutAValidRecordIsNoCandidate(t *testing.T) {
	cell, err := manifest.NewCell("https://example.org/acme/exchange", "v1.3.0")
	if err != nil {
		t.Fatal(err)
	}
	r := Reply{Instances: []Instance{
		{Peer: aPeer, Sources: []string{"dht"}},
		{Peer: aPeer, Sources: []string{"dht"}, Record: []byte("not a record")},
		{Peer: "nobody", Sources: []string{"dht"}},
	}}
	if list := r.Candidates(cell, time.Now()); len(list) != 0 {
		t.Errorf("candidates %+v", list)
	}
}
