package daemon

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/pipe"
	"github.com/cellnode/cellnode/manifest"
)

// serveConnect finds the nearest instance of a cell and passes bytes between it and the asker from then on, as an HTTP
// proxy does (RFC 9110, section 9.3.6). The answer names the instance in the header Cell-Peer.
func serveConnect(n Node, w http.ResponseWriter, r *http.Request) {
	cell, err := manifest.ParseCell(r.URL.Query().Get("cell"))
	if err != nil {
		writeError(w, &Error{Message: "daemon: ?cell= of CONNECT: " + err.Error(), Code: codeUsage})
		return
	}
	q := Query{Repository: cell.URL(), Tag: cell.Tag, Publishers: r.URL.Query()["publisher"]}
	if text := r.URL.Query().Get("threshold"); text != "" {
		if q.Threshold, err = strconv.Atoi(text); err != nil {
			writeError(w, &Error{Message: fmt.Sprintf("daemon: ?threshold= of CONNECT: %q is no number", text), Code: codeUsage})
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), defaultTimeout)
	remote, instance, err := n.Connect(ctx, q)
	cancel()
	if err != nil {
		writeError(w, err)
		return
	}
	passOn(w, r, remote, instance.Peer)
}

// serveStream passes bytes between the asker and a stream of the node's. It is the asker who speaks cell/1 on it.
func serveStream(n Node, w http.ResponseWriter, r *http.Request) {
	id, err := peer.Decode(r.URL.Query().Get("peer"))
	if err != nil {
		writeError(w, &Error{Message: "daemon: ?peer= of CONNECT: " + err.Error(), Code: codeUsage})
		return
	}
	circuit, err := ma.NewMultiaddr(r.URL.Query().Get("circuit"))
	if err != nil {
		writeError(w, &Error{Message: "daemon: ?circuit= of CONNECT: " + err.Error(), Code: codeUsage})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), defaultTimeout)
	remote, err := n.Stream(ctx, id, circuit)
	cancel()
	if err != nil {
		writeError(w, &Error{Message: err.Error(), Code: codeUnreachable})
		return
	}
	passOn(w, r, remote, id.String())
}

// passOn says that the connection stands, and passes bytes between the asker and remote until both have ended.
func passOn(w http.ResponseWriter, r *http.Request, remote net.Conn, id string) {
	asker, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		remote.Close()
		writeError(w, fmt.Errorf("daemon: CONNECT needs HTTP/1.1: %w", err))
		return
	}
	_, err = fmt.Fprintf(asker, "HTTP/1.1 200 OK\r\nCell-Peer: %s\r\n\r\n", id)
	if err == nil {
		err = asker.SetDeadline(time.Time{})
	}
	if err != nil {
		pipe.Abort(remote, err)
		asker.Close()
		return
	}
	_ = pipe.Join(r.Context(), buffered(asker, rw.Reader), remote) // both sides see an end or a reset; nobody else is left to tell
}

// buffered is a connection of which a reader has taken the beginning already.
func buffered(c net.Conn, r *bufio.Reader) net.Conn {
	if r.Buffered() == 0 {
		return c
	}
	return &bufferedConn{c, r}
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// CloseWrite ends our side and leaves the other open.
func (c *bufferedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// Connect opens a connection to the nearest instance of a cell through the node, which has to stay for as long. It
// returns the instance's peer ID. The caller closes the connection.
func (c *Client) Connect(ctx context.Context, cell manifest.Cell) (_ net.Conn, id string, err error) {
	return c.tunnel(ctx, "/v1/connect?cell="+url.QueryEscape(cell.URL()+"@"+cell.Tag))
}

// Stream has the node open a stream of cell/1 to a peer, on a direct connection that it is asked for at a relay. The caller
// speaks cell/1 on it, and closes it.
func (c *Client) Stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error) {
	conn, _, err := c.tunnel(ctx, "/v1/stream?peer="+id.String()+"&circuit="+url.QueryEscape(circuit.String()))
	return conn, err
}

// tunnel is a connection through the node, and to whom it leads.
func (c *Client) tunnel(ctx context.Context, target string) (_ net.Conn, id string, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, "", fmt.Errorf("daemon: the node at %s does not answer: %w", c.socket, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			conn.Close()
		}
	}()
	_, err = fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: cellnode\r\n\r\n", target)
	if err != nil {
		return nil, "", fmt.Errorf("daemon: %w", err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, "", fmt.Errorf("daemon: the node at %s: %w", c.socket, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", c.refusal(resp)
	}
	return buffered(conn, r), strings.TrimSpace(resp.Header.Get("Cell-Peer")), nil
}
