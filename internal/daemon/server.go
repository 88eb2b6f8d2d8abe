package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServerConfig configures a Server. Only Node must be set.
type ServerConfig struct {
	Node Node
	// Spawner starts cells; nil: this node does not.
	Spawner Spawner
	// Check refuses a connection that has just been accepted, as one of another user's process. Nil lets everybody in:
	// the listener must then be one that nobody else can open.
	Check func(net.Conn) error
	// Log may be nil.
	Log *slog.Logger
}

// A Server serves the API on one listener until Close.
type Server struct {
	http   *http.Server
	cancel context.CancelFunc
	wg     sync.WaitGroup // the goroutine that accepts

	mu       sync.Mutex
	closed   bool
	active   int            // requests that run
	last     time.Time      // when the last one ended, or Serve was called
	requests sync.WaitGroup // added to under mu, while not closed
}

// Serve starts to answer on l, which the Server owns from then on. Whoever passes Check is trusted as the node's owner.
func Serve(l net.Listener, cfg ServerConfig) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{cancel: cancel, last: time.Now()}
	s.http = &http.Server{
		Handler: s.counted(Handler(cfg.Node, cfg.Spawner)), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug),
	}
	s.wg.Go(func() {
		if err := s.http.Serve(&guarded{l, cfg}); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("the API ended", "err", err)
		}
	})
	return s
}

// counted lets Close wait for h's requests, which http.Server does not.
func (s *Server) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		s.requests.Add(1)
		s.active++
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			s.active--
			s.last = time.Now()
			s.mu.Unlock()
			s.requests.Done()
		}()
		h.ServeHTTP(w, r)
	})
}

// AwaitIdle returns nil when nobody has asked anything for the given time, or the error of ctx when that ends before. A
// watch that is open counts as somebody asking.
func (s *Server) AwaitIdle(ctx context.Context, idle time.Duration) error {
	left := idle
	for left > 0 {
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		left = idle
		if s.active == 0 {
			left = idle - time.Since(s.last)
		}
		s.mu.Unlock()
	}
	return nil
}

// Close ends running requests, removes the socket and returns when the Node is not called any more. It may be called
// more than once.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	s.wg.Wait()
	s.requests.Wait()
	return err
}

// guarded accepts only what passes the check.
type guarded struct {
	net.Listener
	cfg ServerConfig
}

func (g *guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || g.cfg.Check == nil {
			return c, err
		}
		refused := g.cfg.Check(c)
		if refused == nil {
			return c, nil
		}
		c.Close()
		g.cfg.Log.Warn("connection to the API refused", "err", refused)
	}
}
