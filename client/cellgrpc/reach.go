package cellgrpc

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"

	"github.com/cellnode/cellnode/internal/choice"
)

// reach is how the instances of one connection are reached. gRPC hands its dialer nothing but an address, which is the text
// of a peer ID.
type reach struct {
	mu        sync.Mutex
	chooser   chooser
	instances map[string]*choice.Instance
	err       error // why the newest attempt to find or connect to an instance came to nothing
}

// endpointKey is the key of an endpoint's *choice.Instance.
type endpointKey struct{}

// state is what gRPC is told of the instances that calls may go to; the dialer reaches those from now on.
func (r *reach) state(ch chooser, kept []*choice.Instance) resolver.State {
	byName := make(map[string]*choice.Instance, len(kept))
	s := resolver.State{Endpoints: make([]resolver.Endpoint, 0, len(kept))}
	for _, i := range kept {
		name := peer.ID(i.ID).String()
		byName[name] = i
		s.Endpoints = append(s.Endpoints, resolver.Endpoint{
			Addresses: []resolver.Address{{Addr: name}}, Attributes: attributes.New(endpointKey{}, i),
		})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chooser, r.instances = ch, byName
	if len(kept) > 0 {
		r.err = nil
	}
	return s
}

// dial opens a connection to one instance.
func (r *reach) dial(ctx context.Context, name string) (net.Conn, error) {
	r.mu.Lock()
	ch, i := r.chooser, r.instances[name]
	r.mu.Unlock()
	if i == nil {
		return nil, fmt.Errorf("cellgrpc: instance %s is not used any more", name)
	}
	conn, err := ch.Open(ctx, i)
	r.failed(err)
	return conn, err
}

// failed notes how an attempt ended.
func (r *reach) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *reach) last() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
