package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
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
)

// A Server serves the API on one listener until Close.
type Server struct {
	http   *http.Server
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Serve starts to answer on l, which the Server owns from then on. Whoever can connect to l is trusted as the
// node's owner, so l must be a socket that nobody else can open. Log may be nil.
func Serve(l net.Listener, n Node, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cancel: cancel}
	s.http = &http.Server{
		Handler: Handler(n), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.wg.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the API ended", "err", err)
		}
	})
	return s
}

// Close ends running requests, removes the socket and returns when the server's goroutine has ended.
func (s *Server) Close() error {
	s.cancel()
	err := s.http.Close()
	s.wg.Wait()
	return err
}

// Handler returns the API of n.
func Handler(n Node) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, n.Status()) })
	mux.HandleFunc("POST /v1/find", func(w http.ResponseWriter, r *http.Request) { serveFind(n, w, r) })
	mux.HandleFunc("POST /v1/watch", func(w http.ResponseWriter, r *http.Request) { serveWatch(n, w, r) })
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
	rc := http.NewResponseController(w)
	sent := false
	err := n.Watch(r.Context(), q, func(reply Reply) error {
		if !sent {
			w.Header().Set("Content-Type", "application/x-ndjson")
			sent = true
		}
		if err := out.Encode(reply); err != nil {
			return err
		}
		return rc.Flush()
	})
	if err != nil && !sent {
		writeError(w, err)
	}
}

func readQuery(w http.ResponseWriter, r *http.Request) (q Query, ok bool) {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuery))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		writeError(w, &Error{Message: "daemon: the query is not the JSON of a Query: " + err.Error(), Code: 2})
		return q, false
	}
	return q, true
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(http.ErrAbortHandler) // the asker has gone; what was written is not a whole answer
	}
}

// Error is an error that crosses the API.
type Error struct {
	Message string `json:"error"`
	Code    int    `json:"code"` // the exit code of the command line
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func writeError(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Message: err.Error(), Code: 2}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(e) // nobody is left to tell
}
