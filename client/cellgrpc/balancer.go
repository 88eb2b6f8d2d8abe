package cellgrpc

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"

	"github.com/cellnode/cellnode/internal/choice"
)

// Policy is the name of the load-balancing policy that connections to cells use, unless a service config names another one.
const Policy = "cell_choice"

func init() { balancer.Register(policy{}) }

// policy builds balancers.
type policy struct{}

// Name returns Policy.
func (policy) Name() string { return Policy }

// Build returns the balancer of one connection.
func (policy) Build(cc balancer.ClientConn, _ balancer.BuildOptions) balancer.Balancer {
	return &pool{cc: cc, members: map[*choice.Instance]*member{}}
}

// headStart is what the best instance is given to connect before the others are: a handshake takes a millisecond of this
// machine's processor, and the first call waits for it.
const headStart = 50 * time.Millisecond

// pool holds a connection to each instance that is kept. gRPC calls its methods one after the other.
type pool struct {
	cc      balancer.ClientConn
	order   []*choice.Instance // as discovery orders them
	members map[*choice.Instance]*member
	err     error // why there is no connection
}

type member struct {
	instance *choice.Instance
	conn     balancer.SubConn
	state    connectivity.State
	waiting  bool // for its turn to connect
}

var errForeign = errors.New("cellgrpc: policy " + Policy + " needs the addresses of a cell: use cellgrpc.NewClient")

// UpdateClientConnState takes the instances that are kept now.
func (p *pool) UpdateClientConnState(s balancer.ClientConnState) error {
	order := make([]*choice.Instance, 0, len(s.ResolverState.Endpoints))
	for _, e := range s.ResolverState.Endpoints {
		i, ok := e.Attributes.Value(endpointKey{}).(*choice.Instance)
		if !ok {
			return errForeign
		}
		if err := p.add(i, e.Addresses); err != nil {
			return err
		}
		order = append(order, i)
	}
	p.order = order
	p.dropOthers()
	if len(order) == 0 { // ResolverError follows when everybody has been asked in vain; until then calls wait
		p.cc.UpdateState(balancer.State{ConnectivityState: connectivity.Connecting, Picker: failing{balancer.ErrNoSubConnAvailable}})
		return balancer.ErrBadResolverState
	}
	p.connect()
	p.update()
	return nil
}

// add makes the connection of an instance, which does not connect yet.
func (p *pool) add(i *choice.Instance, addrs []resolver.Address) error {
	if p.members[i] != nil {
		return nil
	}
	m := &member{instance: i, state: connectivity.Idle, waiting: true}
	var err error
	//lint:ignore SA1019 the notice is that a SubConn will have one address in future; these have
	m.conn, err = p.cc.NewSubConn(addrs, balancer.NewSubConnOptions{StateListener: func(s balancer.SubConnState) { p.changed(m, s) }})
	if err != nil {
		return fmt.Errorf("cellgrpc: connection to %s: %w", addrs[0].Addr, err)
	}
	p.members[i] = m
	return nil
}

// dropOthers closes the connections to those that are not kept. The calls that they carry are let finish.
func (p *pool) dropOthers() {
	kept := make(map[*choice.Instance]bool, len(p.order))
	for _, i := range p.order {
		kept[i] = true
	}
	for i, m := range p.members {
		if !kept[i] {
			delete(p.members, i)
			m.conn.Shutdown()
		}
	}
}

// connect begins to connect to whoever waits for that: to the best at once, and to the others too if one stands.
func (p *pool) connect() {
	best := !p.ready()
	for _, i := range p.order {
		m := p.members[i]
		if !m.waiting {
			best = false
			continue
		}
		m.waiting = false
		if best || p.ready() {
			best = false
			m.conn.Connect()
			continue
		}
		time.AfterFunc(headStart, m.conn.Connect) // which does nothing once the connection is shut down
	}
}

func (p *pool) ready() bool {
	for _, m := range p.members {
		if m.state == connectivity.Ready {
			return true
		}
	}
	return false
}

// changed takes the new state of a connection.
func (p *pool) changed(m *member, s balancer.SubConnState) {
	if p.members[m.instance] != m {
		return
	}
	switch s.ConnectivityState {
	case connectivity.Ready:
		p.err = nil
	case connectivity.Idle: // it ended, or the pause after a failure has
		m.conn.Connect()
	case connectivity.TransientFailure:
		p.err = s.ConnectionError
		for _, other := range p.members { // no reason to wait any longer
			if other.state == connectivity.Idle {
				other.conn.Connect()
			}
		}
	}
	if m.state == connectivity.TransientFailure && s.ConnectivityState != connectivity.Ready {
		return // it has failed until it stands
	}
	m.state = s.ConnectivityState
	p.update()
}

// update tells gRPC what calls are to do now.
func (p *pool) update() {
	ready := &picker{conns: make(map[*choice.Instance]balancer.SubConn, len(p.members))}
	hope := false
	for _, i := range p.order {
		switch m := p.members[i]; m.state {
		case connectivity.Ready:
			ready.list = append(ready.list, i)
			ready.conns[i] = m.conn
		case connectivity.Idle, connectivity.Connecting:
			hope = true
		}
	}
	switch {
	case len(ready.list) > 0:
		p.cc.UpdateState(balancer.State{ConnectivityState: connectivity.Ready, Picker: ready})
	case hope:
		p.cc.UpdateState(balancer.State{ConnectivityState: connectivity.Connecting, Picker: failing{balancer.ErrNoSubConnAvailable}})
	default:
		err := p.err
		if err == nil {
			err = errors.New("cellgrpc: no instance is known")
		}
		p.cc.UpdateState(balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: failing{err}})
	}
}

// ResolverError takes why there are no instances. Connections that stand are used on.
func (p *pool) ResolverError(err error) {
	if len(p.members) == 0 {
		p.err = err
		p.update()
	}
}

// UpdateSubConnState is not called: each connection has a listener.
func (p *pool) UpdateSubConnState(balancer.SubConn, balancer.SubConnState) {}

// ExitIdle connects.
func (p *pool) ExitIdle() {
	for _, m := range p.members {
		if m.state == connectivity.Idle {
			m.conn.Connect()
		}
	}
}

// Close has nothing to do: gRPC shuts the connections down.
func (p *pool) Close() {}

// failing fails calls, or has them wait.
type failing struct{ err error }

// Pick returns the error.
func (f failing) Pick(balancer.PickInfo) (balancer.PickResult, error) {
	return balancer.PickResult{}, f.err
}
