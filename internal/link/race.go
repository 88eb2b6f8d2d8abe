package link

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// refusedGrace is the least time that QUIC has once TCP has been refused at the same host. The refusal proves that the
// machine is there and that nobody listens at the one of our two ports; a dead port for UDP is silent, and without this
// every dial of an instance that has crashed would wait for QUIC's own timeout.
const refusedGrace = 200 * time.Millisecond

// errRefused is why an address was given up after a refusal.
var errRefused = errors.New("no answer, and TCP is refused there")

// A race dials the addresses of one peer, each a little after the one before, and hands over the connections in
// the order in which they stand. It belongs to one goroutine.
type race struct {
	d       *Dialer
	ctx     context.Context // ends with the call's, but for an upgrade, and with the Dialer's
	cancel  context.CancelFunc
	detach  func() bool
	upgrade bool
	target  Target
	start   time.Time
	waiting []entrant
	running map[int]entrant // by number
	started int
	results chan result
	ready   []*Conn
	failed  []Attempt
	timer   *time.Timer
	// refused holds the hosts where TCP was refused; grace fires when the last of them has had its time.
	refused map[string]bool
	grace   *time.Timer
	given   int // running attempts that were given up: their results are thrown away
}

type result struct {
	number int
	conn   *Conn
	err    error
}

func (d *Dialer) race(ctx context.Context, t Target) *race {
	r := &race{
		d: d, target: t, start: time.Now(), running: map[int]entrant{}, timer: time.NewTimer(0),
		refused: map[string]bool{}, grace: time.NewTimer(time.Hour),
	}
	own, cancel := context.WithCancelCause(d.ctx)
	r.ctx, r.cancel = own, func() { cancel(nil) }
	r.detach = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	r.waiting, r.failed = d.entrants(t)
	r.results = make(chan result, len(r.waiting))
	return r
}

// next returns a connection that stands, TCP before QUIC if there are both, or nil when every address has failed
// or the context has ended.
func (r *race) next() *Conn {
	for {
		if c := r.pick(); c != nil {
			return c
		}
		if len(r.running) == 0 {
			if len(r.waiting) == 0 {
				return nil
			}
			r.launch()
		}
		select {
		case res := <-r.results:
			r.take(res)
		case <-r.timer.C:
			r.launch()
		case <-r.grace.C:
			r.abandonRefused()
		case <-r.ctx.Done():
			r.giveUp()
			return nil
		}
	}
}

// launch starts the next address, if there is one left, and the time that the one after it waits.
func (r *race) launch() {
	if len(r.waiting) == 0 {
		return
	}
	e, number := r.waiting[0], r.started
	r.waiting = r.waiting[1:]
	r.running[number] = e
	r.started++
	r.d.wg.Go(func() {
		c, err := r.d.connect(r.ctx, r.target, e.endpoint)
		r.results <- result{number, c, err}
	})
	if len(r.waiting) > 0 {
		r.timer.Reset(r.waiting[0].after)
	}
}

func (r *race) take(res result) {
	e, running := r.running[res.number]
	if !running {
		r.given--
		if res.conn != nil {
			res.conn.discard()
		}
		return
	}
	delete(r.running, res.number)
	if res.err != nil {
		r.fail(e.endpoint, res.err)
		if e.path == TCP && errors.Is(res.err, syscall.ECONNREFUSED) {
			r.refused[e.host()] = true
			r.grace.Reset(max(refusedGrace, 2*time.Since(r.start)))
		}
		r.launch()
		return
	}
	r.ready = append(r.ready, res.conn)
}

// abandonRefused gives up what is still running at hosts that refused TCP.
func (r *race) abandonRefused() {
	for number, e := range r.running {
		if r.refused[e.host()] {
			delete(r.running, number)
			r.given++
			r.fail(e.endpoint, errRefused)
		}
	}
}

func (r *race) fail(e endpoint, err error) {
	r.failed = append(r.failed, Attempt{Addr: e.ma, Path: e.path, After: time.Since(r.start), Err: err})
}

// pick takes what has arrived meanwhile, and of that the first over TCP, or else the first.
func (r *race) pick() *Conn {
	for more := true; more; {
		select {
		case res := <-r.results:
			r.take(res)
		default:
			more = false
		}
	}
	if len(r.ready) == 0 {
		return nil
	}
	at := 0
	for i, c := range r.ready {
		if c.path == TCP {
			at = i
			break
		}
	}
	c := r.ready[at]
	r.ready = append(r.ready[:at], r.ready[at+1:]...)
	return c
}

// giveUp notes what did not come to an end in time.
func (r *race) giveUp() {
	for n := range r.started {
		if e, ok := r.running[n]; ok {
			r.fail(e.endpoint, context.Cause(r.ctx))
		}
	}
	for _, e := range r.waiting {
		r.fail(e.endpoint, context.Cause(r.ctx))
	}
	r.waiting = nil
}

// upgradeLimit is how long TCP may still take to stand once another path has won.
const upgradeLimit = 2 * time.Second

// won says which connection the race was for. If that is another than one over TCP, and TCP is on its way for the first time,
// it goes on in the background: the next call goes over TCP, or knows that a firewall swallows it.
func (r *race) won(c *Conn) {
	if c.path == TCP || r.d.memory.get(r.target.Peer).tcp != tcpUntried {
		return
	}
	for _, e := range r.running {
		r.upgrade = r.upgrade || e.path == TCP
	}
}

// stop closes whatever was not handed over.
func (r *race) stop() {
	r.detach()
	limit := r.cancel
	if r.upgrade {
		limit = func() { time.AfterFunc(upgradeLimit, r.cancel) }
	}
	limit()
	r.timer.Stop()
	r.grace.Stop()
	for _, c := range r.ready {
		c.discard()
	}
	if n := len(r.running) + r.given; n > 0 {
		r.d.wg.Go(func() {
			defer r.cancel()
			for range n {
				r.late(<-r.results)
			}
		})
	}
}

// late takes what came too late.
func (r *race) late(res result) {
	if r.upgrade && r.running[res.number].path == TCP {
		if res.conn != nil {
			r.d.tls.put(res.conn, r.d.cfg.Warm)
			return
		}
		r.d.memory.change(r.target.Peer, func(k *known) {
			if k.tcp == tcpUntried {
				k.tcp = tcpFails
			}
		})
	}
	if res.conn != nil {
		res.conn.discard()
	}
}
