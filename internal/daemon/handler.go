package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// A Node answers the API. Its methods are called by many goroutines.
type Node interface {
	Status() Status
	// Find returns when the search has settled or ctx ends, with what is known by then. An error means that the
	// query itself was refused.
	Find(ctx context.Context, q Query) (Reply, error)
	// Watch calls send at once and after each change, until ctx ends or send fails.
	Watch(ctx context.Context, q Query, send func(Reply) error) error
	// Connect opens a connection to the nearest instance, which the caller closes.
	Connect(ctx context.Context, q Query) (net.Conn, Instance, error)
	// Stream opens a stream of cell/1 to a peer that cannot be dialled, on a direct connection that it is asked for at a
	// relay; the caller closes it.
	Stream(ctx context.Context, id peer.ID, circuit ma.Multiaddr) (net.Conn, error)
	Peers() Peers
	// Events calls send with every event from the given one on that is still known, and with follow also with those to
	// come, until ctx ends or send fails.
	Events(ctx context.Context, from uint64, follow bool, send func(Event) error) error
	// Drain takes instances out of use, or back: they answer nobody new, and what is open stays.
	Drain(d Drain) (Drained, error)
	// Metrics answers a scrape of Prometheus.
	Metrics() http.Handler
}

const (
	maxQuery       = 1 << 20 // bytes: a query may carry a whole seed list
	defaultTimeout = 5 * time.Second
	maxTimeout     = 5 * time.Minute
	// writeTimeout is how long an asker may leave an answer unread; then its connection ends.
	writeTimeout = 30 * time.Second
)

// Handler returns the API of n, and of s where the node starts cells; else s is nil.
func Handler(n Node, s Spawner) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, n.Status()) })
	mux.HandleFunc("POST /v1/find", func(w http.ResponseWriter, r *http.Request) { serveFind(n, w, r) })
	mux.HandleFunc("POST /v1/watch", func(w http.ResponseWriter, r *http.Request) { serveWatch(n, w, r) })
	mux.HandleFunc("GET /v1/peers", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, n.Peers()) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { serveEvents(n, w, r) })
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) { serveDrain(n, w, r) })
	mux.HandleFunc("CONNECT /v1/connect", func(w http.ResponseWriter, r *http.Request) { serveConnect(n, w, r) })
	mux.HandleFunc("CONNECT /v1/stream", func(w http.ResponseWriter, r *http.Request) { serveStream(n, w, r) })
	mux.HandleFunc("POST /v1/spawn", func(w http.ResponseWriter, r *http.Request) { serveSpawn(s, w, r) })
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) { serveStop(s, w, r) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { serveHealth(n, w) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) { n.Metrics().ServeHTTP(w, r) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeStatus(w, http.StatusNotFound, &Error{
			Message: fmt.Sprintf("daemon: this node does not know %s %s: it may be of another version than you are", r.Method, r.URL.Path), Code: codeUsage,
		})
	})
	return mux
}

func serveFind(n Node, w http.ResponseWriter, r *http.Request) {
	var q Query
	if !readBody(w, r, &q) {
		return
	}
	timeout := time.Duration(q.TimeoutMS) * time.Millisecond
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(r.Context(), min(timeout, maxTimeout))
	defer cancel()
	reply, err := n.Find(ctx, q)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, reply)
}

func serveWatch(n Node, w http.ResponseWriter, r *http.Request) {
	var q Query
	if !readBody(w, r, &q) {
		return
	}
	out := lines{w: w}
	if err := n.Watch(r.Context(), q, func(reply Reply) error { return out.write(reply) }); err != nil && !out.begun {
		writeError(w, err)
	}
}

func serveEvents(n Node, w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	from, err := strconv.ParseUint(cmp.Or(asked.Get("from"), "0"), 10, 64)
	if err != nil {
		writeError(w, &Error{Message: fmt.Sprintf("daemon: ?from=%s is not the number of an event", asked.Get("from")), Code: codeUsage})
		return
	}
	out := lines{w: w}
	if err := out.begin(); err != nil {
		return
	}
	_ = n.Events(r.Context(), from, asked.Get("follow") == "true", func(e Event) error { return out.write(e) }) // the asker has gone
}

func serveDrain(n Node, w http.ResponseWriter, r *http.Request) {
	var d Drain
	if !readBody(w, r, &d) {
		return
	}
	done, err := n.Drain(d)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, done)
}

// serveHealth answers as an orchestrator's readiness probe wants it.
func serveHealth(n Node, w http.ResponseWriter) {
	for _, i := range n.Status().Instances {
		if i.Ready {
			continue
		}
		why := fmt.Sprintf("%s is not announced yet", i.Cell)
		if !i.GrantEnds.IsZero() && !time.Now().Before(i.GrantEnds) {
			why = fmt.Sprintf("the grant for %s ended at %s", i.Cell, i.GrantEnds.Format(time.RFC3339))
		}
		writeStatus(w, http.StatusServiceUnavailable, &Error{Message: why, Code: codeUnreachable})
		return
	}
	writeJSON(w, struct {
		OK bool `json:"ok"`
	}{true})
}

// lines writes an object a line.
type lines struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lines) begin() error {
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	l.begun = true
	return timed(l.w, (*http.ResponseController).Flush)
}

func (l *lines) write(v any) error {
	if !l.begun {
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.begun = true
	}
	return timed(l.w, func(rc *http.ResponseController) error {
		if err := json.NewEncoder(l.w).Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	})
}

// timed writes within writeTimeout: an asker that does not read holds up nobody else, and may not stay for ever.
func timed(w http.ResponseWriter, write func(*http.ResponseController) error) error {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a recorder in a test knows none
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	return write(rc)
}

// readBody reads the JSON of a request and reports whether it was good; if not, it has answered.
func readBody(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuery))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		// Reading to the end also lets the server notice that the asker has gone.
		if _, more := dec.Token(); more != io.EOF {
			err = cmp.Or(more, errors.New("something follows it"))
		}
	}
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return true
	case errors.As(err, &large):
		err = &Error{Message: fmt.Sprintf("daemon: the query is larger than %d bytes: name fewer seeds", large.Limit), Code: codeUsage}
	default:
		err = &Error{Message: fmt.Sprintf("daemon: the query is not the JSON of a %s: ", reflect.TypeOf(v).Elem().Name()) + strings.TrimPrefix(err.Error(), "json: "), Code: codeUsage}
	}
	writeError(w, err)
	return false
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	err := timed(w, func(rc *http.ResponseController) error {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			return err
		}
		return rc.Flush()
	})
	if err != nil {
		panic(http.ErrAbortHandler) // the asker has gone; what was written is not a whole answer
	}
}
