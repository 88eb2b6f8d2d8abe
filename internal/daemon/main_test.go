package daemon

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// net/http lingers for half a second on a connection whose request it has not read to the end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fakeNode is a Node made of functions; a nil one is not to be called.
type fakeNode struct {
	Node   // what a test does not expect to be asked
	status func() Status
	find   func(context.Context, Query) (Reply, error)
	watch  func(context.Context, Query, func(Reply) error) error
}

func (n fakeNode) Status() Status                                   { return n.status() }
func (n fakeNode) Find(ctx context.Context, q Query) (Reply, error) { return n.find(ctx, q) }
func (n fakeNode) Watch(ctx context.Context, q Query, send func(Reply) error) error {
	return n.watch(ctx, q, send)
}

// serve serves the node on a Unix socket until the test ends.
func serve(t *testing.T, cfg ServerConfig) (*Server, *Client) {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(l, cfg)
	t.Cleanup(func() { s.Close() })
	c := NewClient(l.Addr().String())
	t.Cleanup(c.Close)
	return s, c
}

// post sends a body as it stands, and returns the status and the answer.
func post(t *testing.T, c *Client, path, body string) (int, string) {
	t.Helper()
	resp, err := c.http.Post("http://cellnode"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
