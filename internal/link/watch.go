package link

import (
	"context"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/link/linkpb"
)

// watch lets the handler send Lists, with an empty one between them whenever a second has gone by.
func (s *Server) watch(h Hello, c *Conn) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	w := &watcher{conn: c, sent: time.Now()}
	var wg sync.WaitGroup
	defer wg.Wait()
	// The client says nothing more: whatever a read brings, it is gone.
	wg.Go(func() {
		defer cancel()
		c.Read(make([]byte, 1))
	})
	wg.Go(func() {
		defer cancel()
		w.beat(ctx)
	})
	err := s.cfg.Handler.Watch(ctx, h, w.send)
	s.cfg.Log.Debug("watch ended", "peer", c.peer, "err", err)
	cancel()
	c.Reset()
	return err
}

type watcher struct {
	mu   sync.Mutex
	conn *Conn
	sent time.Time
}

func (w *watcher) send(l List) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = time.Now()
	return sendList(w.conn, &l)
}

// beat sends signs of life until ctx ends or one cannot be sent.
func (w *watcher) beat(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		var err error
		if time.Since(w.sent) >= heartbeat/2 {
			w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			err = writeFrame(w.conn, &linkpb.List{}, maxListFrame)
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}
