package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// A Node answers the API. Its methods are called by many goroutines.
type Node interface {
	Status() Status
	// Find returns when the search has settled or ctx ends, with what is known by then. An error means that the
	// query itself was refused.
	Find(ctx context.Context, q Query) (Reply, error)
	// Watch calls send at once and after each change, until ctx ends or send fails.
	Watch(ctx context.Context, q Query, send func(Reply) error) error
}

const (
	maxQuery       = 1 << 20 // bytes: a query may carry a whole seed list
	defaultTimeout = 5 * time.Second
	maxTimeout     = 5 * time.Minute
	// writeTimeout is how long an asker may leave an answer unread; then its connection ends.
	writeTimeout = 30 * time.Second
)

// Handler returns the API of n.
func Handler(n Node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, n.Status()) })
	mux.HandleFunc("POST /v1/find", func(w http.ResponseWriter, r *http.Request) { serveFind(n, w, r) })
	mux.HandleFunc("POST /v1/watch", func(w http.ResponseWriter, r *http.Request) { serveWatch(n, w, r) })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeStatus(w, http.StatusNotFound, &Error{
			Message: fmt.Sprintf("daemon: this node does not know %s %s: it may be of another version than you are", r.Method, r.URL.Path), Code: codeUsage,
		})
	})
	return mux
}

func serveFind(n Node, w http.ResponseWriter, r *http.Request) {
	q, ok := readQuery(w, r)
	if !ok {
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
	q, ok := readQuery(w, r)
	if !ok {
		return
	}
	out := json.NewEncoder(w)
	sent := false
	err := n.Watch(r.Context(), q, func(reply Reply) error {
		if !sent {
			w.Header().Set("Content-Type", "application/x-ndjson")
			sent = true
		}
		return timed(w, func(rc *http.ResponseController) error {
			if err := out.Encode(reply); err != nil {
				return err
			}
			return rc.Flush()
		})
	})
	if err != nil && !sent {
		writeError(w, err)
	}
}

// timed writes within writeTimeout: an asker that does not read holds up nobody else, and may not stay for ever.
func timed(w http.ResponseWriter, write func(*http.ResponseController) error) error {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a recorder in a test knows none
	defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	return write(rc)
}

func readQuery(w http.ResponseWriter, r *http.Request) (q Query, ok bool) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuery))
	dec.DisallowUnknownFields()
	err := dec.Decode(&q)
	if err == nil {
		// Reading to the end also lets the server notice that the asker has gone.
		if _, more := dec.Token(); more != io.EOF {
			err = cmp.Or(more, errors.New("something follows it"))
		}
	}
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return q, true
	case errors.As(err, &large):
		err = &Error{Message: fmt.Sprintf("daemon: the query is larger than %d bytes: name fewer seeds", large.Limit), Code: codeUsage}
	default:
		err = &Error{Message: "daemon: the query is not the JSON of a Query: " + strings.TrimPrefix(err.Error(), "json: "), Code: codeUsage}
	}
	writeError(w, err)
	return q, false
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
