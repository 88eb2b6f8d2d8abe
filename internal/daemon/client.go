package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// maxReply bounds one answer of a node, in bytes.
const maxReply = 16 << 20

// A Client asks one node through its Unix socket. It may be used by many goroutines.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the node at a socket. It opens nothing yet.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
		IdleConnTimeout: 10 * time.Second,
	}}}
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status returns what the node says of itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Find asks the node for the instances of a cell.
func (c *Client) Find(ctx context.Context, q Query) (r Reply, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/find", q, &r)
}

// Watch calls each with every list that the node pushes, until ctx ends, the node goes, or each fails; it returns
// that error, and never nil.
func (c *Client) Watch(ctx context.Context, q Query, each func(Reply) error) error {
	err := stream(ctx, c, http.MethodPost, "/v1/watch", q, each)
	if err == nil {
		return fmt.Errorf("daemon: the node at %s ended the watch: %w", c.socket, io.EOF)
	}
	return err
}

// Peers returns whom the node knows.
func (c *Client) Peers(ctx context.Context) (p Peers, err error) {
	return p, c.call(ctx, http.MethodGet, "/v1/peers", nil, &p)
}

// Events calls each with every event from the given one on, and with follow also with those to come. It returns when
// there are no more, ctx ends, the node goes, or each fails.
func (c *Client) Events(ctx context.Context, from uint64, follow bool, each func(Event) error) error {
	err := stream(ctx, c, http.MethodGet, fmt.Sprintf("/v1/events?from=%d&follow=%t", from, follow), nil, each)
	if err == nil && follow {
		return fmt.Errorf("daemon: the node at %s has ended: %w", c.socket, io.EOF)
	}
	return err
}

// Drain takes instances of the node out of use, or back into it.
func (c *Client) Drain(ctx context.Context, d Drain) (done Drained, err error) {
	return done, c.call(ctx, http.MethodPost, "/v1/drain", d, &done)
}

// stream calls each with every line of an answer; nil after the last.
func stream[T any](ctx context.Context, c *Client, method, path string, in any, each func(T) error) error {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxReply)
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			return fmt.Errorf("daemon: %s: %w", c.socket, err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("daemon: what the node at %s sends ended: %w", c.socket, err)
	}
	return nil
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	body, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxReply)) // to the end: only then is the connection used again
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		return fmt.Errorf("daemon: %s: %w", c.socket, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("daemon: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://cellnode"+path, body)
	if err != nil {
		return nil, fmt.Errorf("daemon: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error // names a URL that nobody has written
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("daemon: the node at %s does not answer: %w", c.socket, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// refusal is the error in an answer, whatever its form.
func (c *Client) refusal(resp *http.Response) *Error {
	var e Error
	err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(&e)
	if err != nil || e.Message == "" || e.Code < 1 || e.Code > 5 {
		return &Error{Message: fmt.Sprintf("daemon: the node at %s answers %s", c.socket, resp.Status), Code: codeUnreachable}
	}
	return &e
}
