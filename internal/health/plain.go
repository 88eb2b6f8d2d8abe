package health

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// tcpCheck connects, on TCP or on a Unix socket.
type tcpCheck struct {
	stateless
	dial Dial
}

func (c tcpCheck) Check(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return fmt.Errorf("health: tcp: %w", err)
	}
	conn.Close()
	return nil
}

// httpCheck gets a path over HTTP/1.1, on a connection of its own.
type httpCheck struct {
	stateless
	dial Dial
	url  string
}

func newHTTPCheck(dial Dial, path string) (Check, error) {
	if path == "" {
		path = "/"
	}
	c := httpCheck{dial: dial, url: "http://localhost" + path}
	if _, err := http.NewRequest(http.MethodGet, c.url, nil); err != nil || !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("health: http: path %q is not one: write it as /healthz", path)
	}
	return c, nil
}

func (c httpCheck) Check(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return fmt.Errorf("health: http: %w", err)
	}
	request.Header.Set("User-Agent", "cellnode-health")
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DisableKeepAlives: true,
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("health: http: %w", err)
	}
	answer.Body.Close()
	if answer.StatusCode >= 400 {
		return fmt.Errorf("health: http: GET %s answers %s", request.URL.RequestURI(), answer.Status)
	}
	return nil
}
