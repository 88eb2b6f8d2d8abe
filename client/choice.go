package client

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/cellnode/cellnode/internal/choice"
	"github.com/cellnode/cellnode/internal/find"
)

// chooser keeps the choice of a cell up to what its Tracker knows.
type chooser struct {
	set *choice.Set

	mu   sync.Mutex
	seen uint64    // the list's version that the set has
	at   time.Time // and when it took that
}

// staleAfter is the age at which a list is taken again although nobody came or went: round trips change too.
const staleAfter = 10 * time.Second

func newChooser() *chooser { return &chooser{set: choice.New(rand.Uint64())} }

// refresh brings the set up to the Tracker's list and returns what is kept.
func (s *cell) refresh() []*choice.Instance {
	ch := s.chooser
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if now := time.Now(); s.tracker.Version() != ch.seen || now.Sub(ch.at) > staleAfter {
		list, version := s.tracker.Instances()
		ch.set.Update(members(list), now)
		ch.seen, ch.at = version, now
	}
	return ch.set.Kept()
}

func members(list []find.Instance) []choice.Member {
	out := make([]choice.Member, len(list))
	for n, i := range list {
		out[n] = choice.Member{
			ID: string(i.Peer), RTT: i.RTT, Local: i.Socket != "", Suspect: i.Suspect, Draining: !i.Usable(), At: i,
		}
	}
	return out
}

// A Choice is which instance of one cell a call goes to. It is for packages that carry a protocol to cells, as cellgrpc
// does; everybody else has Dial and Transport. All users of a Client share what is learnt of an instance.
type Choice struct{ s *cell }

// Choice returns the choice of a cell, beginning to look for instances if this is the first call that names it.
func (c *Client) Choice(ctx context.Context, name string) (*Choice, error) {
	s, err := c.cellFor(ctx, name, true)
	if err != nil {
		return nil, err
	}
	return &Choice{s}, nil
}

// Next returns the instances that calls may go to when that list is another than the one of this version; 0 is older than
// any. Where all have been asked and none takes calls it returns a *NoneError, and goes on looking.
func (x *Choice) Next(ctx context.Context, seen uint64) ([]*choice.Instance, uint64, error) {
	for {
		kept, version, err := x.s.view()
		if err != nil || version != seen {
			return kept, version, err
		}
		if len(kept) == 0 {
			_, err = x.s.tracker.Wait(ctx)
		} else {
			err = x.Changed(ctx, seen)
		}
		if err != nil {
			return nil, version, err
		}
	}
}

// Changed returns when the list is another than the one of this version.
func (x *Choice) Changed(ctx context.Context, seen uint64) error {
	for {
		changed := x.s.tracker.Changed()
		if _, version, err := x.s.view(); err != nil || version != seen {
			return err
		}
		select {
		case <-changed:
		case <-x.s.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// view returns what is kept now, and its version.
func (s *cell) view() ([]*choice.Instance, uint64, error) {
	if s.hasEnded() {
		return nil, 0, ErrClosed
	}
	s.refresh()
	kept, version := s.chooser.set.Version()
	return kept, version, nil
}

func (s *cell) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Open opens a connection to this instance and no other. It is not counted as a call.
func (x *Choice) Open(ctx context.Context, i *choice.Instance) (net.Conn, error) {
	return x.s.open(ctx, i, false)
}

// open opens a connection to one instance; where there are others to turn to it is not waited for long.
func (s *cell) open(ctx context.Context, i *choice.Instance, others bool) (net.Conn, error) {
	at, _ := i.Member().At.(find.Instance)
	conn, err := s.tracker.OpenPatiently(ctx, at, others)
	if err != nil && ctx.Err() == nil {
		s.tracker.Demote(at, err)
	}
	return conn, err
}
