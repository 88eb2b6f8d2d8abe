package cellgrpc

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/resolver"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/choice"
)

// chooser is what one connection needs of a *client.Choice.
type chooser interface {
	Next(ctx context.Context, seen uint64) (kept []*choice.Instance, version uint64, err error)
	Changed(ctx context.Context, seen uint64) error
	Open(ctx context.Context, i *choice.Instance) (net.Conn, error)
}

// cells finds cells; *client.Client by way of clientCells.
type cells interface {
	Choice(ctx context.Context, cell string) (chooser, error)
}

type clientCells struct{ *client.Client }

func (c clientCells) Choice(ctx context.Context, cell string) (chooser, error) {
	return c.Client.Choice(ctx, cell)
}

// builder makes the resolver of one connection: what finding brings is pushed to gRPC, which never has to ask.
type builder struct {
	cells cells
	reach *reach
}

// Scheme returns what stands before :/// in a target.
func (b *builder) Scheme() string { return scheme }

// Build begins to look for a cell. What is wrong with its name is said by the connection's calls, as with all targets.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &cellResolver{builder: b, cell: target.Endpoint(), cc: cc, cancel: cancel}
	r.wg.Go(func() { r.run(ctx) })
	return r, nil
}

type cellResolver struct {
	*builder
	cell   string
	cc     resolver.ClientConn
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// ResolveNow has nothing to do: everything is pushed.
func (r *cellResolver) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the search for this connection.
func (r *cellResolver) Close() {
	r.cancel()
	r.wg.Wait()
}

func (r *cellResolver) run(ctx context.Context) {
	for {
		ch, err := r.cells.Choice(ctx, r.cell)
		if err == nil {
			err = r.follow(ctx, ch)
		}
		if ctx.Err() != nil {
			return
		}
		r.report(err)
		if errors.Is(err, client.ErrClosed) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(maxPause):
		}
	}
}

// follow pushes each change of a cell to gRPC until something is wrong with the cell itself.
func (r *cellResolver) follow(ctx context.Context, ch chooser) error {
	var seen uint64
	for {
		kept, version, err := ch.Next(ctx, seen)
		var none *client.NoneError
		switch {
		case errors.As(err, &none) && ctx.Err() == nil:
			r.report(err)
			if err := r.pause(ctx, ch, version); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			// An error says that the list is empty; whoever calls is told why by what Next returns then.
			_ = r.cc.UpdateState(r.reach.state(ch, kept))
		}
		seen = version
	}
}

// report tells the connection's callers what is wrong.
func (r *cellResolver) report(err error) {
	r.reach.failed(err)
	r.cc.ReportError(err)
}

// pause waits for the first instance, and not long for that: whoever asks again has the ways of finding asked again.
func (r *cellResolver) pause(ctx context.Context, ch chooser, version uint64) error {
	short, cancel := context.WithTimeout(ctx, maxPause)
	defer cancel()
	err := ch.Changed(short, version)
	if errors.Is(err, context.DeadlineExceeded) {
		return ctx.Err()
	}
	return err
}
