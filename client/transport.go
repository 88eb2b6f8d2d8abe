package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/choice"
)

const (
	// domain stands behind a cell's name in a URL.
	domain = ".cell"
	// maxHTTPTries is how many instances one request is sent to at most.
	maxHTTPTries = 4
	// Retries of HTTP requests: one for ten requests, and 100 at once.
	retryThousandths = 100
	retryBurst       = 100
	// idleHTTP is how long an unused connection is kept, and idleHTTPEach how many to one instance.
	idleHTTP     = 90 * time.Second
	idleHTTPEach = 64
)

// Transport returns a transport for URLs of cells: http://NAME.cell/path, where NAME is the cell's name in Cell.toml or in a
// generated package. Each request goes to the instance that answers soonest, over connections that are kept for each; one
// that was not sent because its instance had gone is sent to another, and so is one whose answer did not come if it is
// idempotent as http.Transport has it. TLS is not for the caller to do: cell/1 is encrypted and its far end known.
//
// It speaks HTTP/1.1, or with the option H2C HTTP/2. http.Client.CloseIdleConnections gives unused connections back. It may
// be used by any number of goroutines.
func (c *Client) Transport(opts ...Option) http.RoundTripper {
	return newTransport(func() (*Client, error) { return c, nil }, opts)
}

// Transport is Client.Transport with the Default client.
func Transport(opts ...Option) http.RoundTripper {
	return newTransport(func() (*Client, error) { return defaultClient(opts) }, opts)
}

// TransportTo is Transport for the requests to one cell, which has a name as Dial takes it. What the host of their URLs says
// does not matter: the cell is the address. Generated packages use it.
func TransportTo(name string, opts ...Option) http.RoundTripper {
	t := newTransport(func() (*Client, error) { return defaultClient(opts) }, opts)
	t.only = name
	return t
}

// transport is an http.RoundTripper for cells.
type transport struct {
	client  func() (*Client, error)
	only    string // the cell of all requests; empty: their URLs name it
	http    *http.Transport
	retries *choice.Budget

	mu    sync.Mutex
	cells map[string]*cell // by what stands for them in hosts
	pools map[*cell]*pool  // while there are connections
}

// A pool counts the connections to the instances of one cell.
type pool struct {
	n    int
	none chan struct{} // closed when there is none any more
}

func newTransport(client func() (*Client, error), opts []Option) *transport {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	t := &transport{
		client: client, retries: choice.NewBudget(retryThousandths, retryBurst), cells: map[string]*cell{}, pools: map[*cell]*pool{},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!o.h2c)
	protocols.SetUnencryptedHTTP2(o.h2c)
	t.http = &http.Transport{
		DialContext: t.dial, MaxIdleConnsPerHost: idleHTTPEach, IdleConnTimeout: idleHTTP, Protocols: protocols,
	}
	return t
}

// CloseIdleConnections closes the connections that carry no request.
func (t *transport) CloseIdleConnections() { t.http.CloseIdleConnections() }

// RoundTrip sends a request to an instance of the cell that its URL names. Where none can be found the error is a *NoneError.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	host, s, err := t.cell(r)
	if err != nil {
		closeBody(r)
		return nil, err
	}
	t.retries.Earn()
	body := newReplay(r)
	defer body.done()
	var tried choice.Tried
	for {
		i, err := s.pick(r.Context(), choice.HTTP, &tried)
		if err != nil {
			return nil, err
		}
		again := tried.Has(i)
		tried.Add(i)
		out, err := body.request(instanceURL(r.URL, i, host))
		if err != nil {
			i.End()
			return nil, err
		}
		resp, err := t.send(out, i, body)
		switch {
		case err == nil:
			resp.Request = r
			return resp, nil
		case r.Context().Err() != nil, again, tried.Len() >= maxHTTPTries, !body.repeatable(err), !t.retries.Spend():
			return nil, err
		}
	}
}

// onlyHost stands for the one cell of a transport in the hosts of its instances.
const onlyHost = "cell"

// cell returns the cell that a request is for, and what stands for it in the hosts of its instances.
func (t *transport) cell(r *http.Request) (host string, s *cell, err error) {
	host, ok := strings.CutSuffix(strings.ToLower(r.URL.Hostname()), domain)
	name := host
	if t.only != "" {
		name, host, ok = t.only, onlyHost, true
	}
	if !ok || r.URL.Scheme != "http" {
		return "", nil, fmt.Errorf("client: %s is no URL of a cell: write http://NAME%s/", r.URL.Redacted(), domain)
	}
	c, err := t.client()
	if err != nil {
		return "", nil, err
	}
	if s, err = c.cellFor(r.Context(), name, true); err != nil {
		return "", nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cells[host] = s
	return host, s, nil
}

// send makes one attempt. What it teaches of the instance is learnt when the header has come; the call is in flight until the
// body has been read.
func (t *transport) send(r *http.Request, i *choice.Instance, body *replay) (*http.Response, error) {
	began := time.Now()
	i.Await(began)
	resp, err := t.http.RoundTrip(r)
	i.Heard()
	now := time.Now()
	switch {
	case err != nil && (body.faulty() || r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded)):
		i.Learn(choice.HTTP, choice.Ended, now.Sub(began), now)
	case err != nil || overloaded(resp.StatusCode):
		i.Learn(choice.HTTP, choice.Failed, now.Sub(began), now)
	default:
		i.Learn(choice.HTTP, choice.Answered, now.Sub(began), now)
	}
	if err != nil {
		i.End()
		return nil, err
	}
	resp.Body = counting(resp.Body, i, t.CloseIdleConnections)
	return resp, nil
}

// overloaded says whether a status is the instance's own fault, as a proxy would count it.
func overloaded(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// dial opens a connection to the instance that a host name of ours stands for: PEER.NAME.
func (t *transport) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	id, of, _ := strings.Cut(host, ".")
	t.mu.Lock()
	s := t.cells[of]
	t.mu.Unlock()
	if s == nil {
		return nil, &notSentError{fmt.Errorf("client: no cell %s", of)}
	}
	kept := s.refresh()
	for _, i := range kept {
		if peer.ID(i.ID).String() == id {
			conn, err := s.open(ctx, i, len(kept) > 1)
			if err != nil {
				return nil, &notSentError{err}
			}
			return t.pooled(conn, s, kept), nil
		}
	}
	return nil, &notSentError{fmt.Errorf("client: instance %s of %s is not used any more", id, s.Cell)}
}

// pooled counts a connection. As long as there are any to the cell, its instances are watched; kept are those of now.
func (t *transport) pooled(conn net.Conn, s *cell, kept []*choice.Instance) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.pools[s]
	if p == nil {
		p = &pool{none: make(chan struct{})}
		t.pools[s] = p
		go t.shed(s, kept, p.none)
	}
	p.n++
	return &pooledConn{conn, sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if p.n--; p.n == 0 {
			close(p.none)
			delete(t.pools, s)
		}
	})}
}

// shed closes idle connections whenever an instance has gone from those that calls go to, and when the client is closed: one
// that drains waits for its connections to end. It returns when there are none any more.
func (t *transport) shed(s *cell, was []*choice.Instance, none <-chan struct{}) {
	for {
		changed := s.tracker.Changed()
		kept := s.refresh()
		if slices.ContainsFunc(was, func(i *choice.Instance) bool { return !slices.Contains(kept, i) }) {
			t.CloseIdleConnections()
		}
		was = kept
		select {
		case <-changed:
		case <-none:
			return
		case <-s.ended:
			t.CloseIdleConnections()
			return
		}
	}
}

// pooledConn is counted until it is closed.
type pooledConn struct {
	net.Conn
	closed func()
}

// Close closes the connection.
func (c *pooledConn) Close() error {
	c.closed()
	return c.Conn.Close()
}

// CloseWrite ends the direction from here.
func (c *pooledConn) CloseWrite() error { return closeWrite(c.Conn) }

// closeWrite ends the direction from here, where that is possible.
func closeWrite(w io.Writer) error {
	if half, ok := w.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return fmt.Errorf("client: close one direction: %w", http.ErrNotSupported)
}

// notSentError says that there was no connection that a request could have been sent on.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

// instanceURL is u with a host that names the instance alone, so that each has connections of its own.
func instanceURL(u *url.URL, i *choice.Instance, of string) *url.URL {
	out := *u
	out.Host = peer.ID(i.ID).String() + "." + of
	return &out
}

// counting counts the call off when the body has been read or is closed, and then sheds the connection if its instance has
// gone meanwhile. The body of a connection that has changed its protocol can be written to.
func counting(body io.ReadCloser, i *choice.Instance, shed func()) io.ReadCloser {
	b := &countedBody{body, i, sync.OnceFunc(i.End), shed}
	if w, ok := body.(io.ReadWriteCloser); ok {
		return &countedUpgrade{b, w}
	}
	return b
}

type countedBody struct {
	io.ReadCloser
	of        *choice.Instance
	end, shed func()
}

// Read reads.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.end()
	}
	return n, err
}

// Close closes the body.
func (b *countedBody) Close() error {
	b.end()
	err := b.ReadCloser.Close()
	if b.of.Member().Draining {
		b.shed()
	}
	return err
}

type countedUpgrade struct {
	*countedBody
	w io.Writer
}

// Write writes to a connection that has changed its protocol.
func (b *countedUpgrade) Write(p []byte) (int, error) { return b.w.Write(p) }

// CloseWrite ends the direction from here.
func (b *countedUpgrade) CloseWrite() error { return closeWrite(b.w) }
