package client

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
)

// sleepers answer every probe, and take no call within two seconds.
type sleepers struct{ *crowd }

func (sleepers) Open(ctx context.Context, _ link.Target, _ link.Hello) (*link.Conn, error) {
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	return nil, io.ErrUnexpectedEOF
}

func TestDialEndsThoughManyInstancesAnswerEveryProbe(t *testing.T) {
	for _, n := range []int{5, 40} { // one more than a choice.Tried remembers, and many more than are kept
		synctest.Test(t, func(t *testing.T) {
			all := sleepers{newCrowd(t, n)}
			s := &cell{chooser: newChooser(), ended: make(chan struct{}), tracker: find.New(find.Config{
				Request: find.Request{Cell: exchange}, Dialer: all, Ways: []find.Way{{Name: find.List, Run: all.way}},
			})}
			defer s.tracker.Close()
			if _, err := s.tracker.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			began := time.Now()
			var none *NoneError
			if _, err := s.dial(ctx); !errors.As(err, &none) || none.Err != nil {
				t.Errorf("of %d instances: %v", n, err)
			}
			t.Logf("%d instances: %s", n, time.Since(began))
		})
	}
}
