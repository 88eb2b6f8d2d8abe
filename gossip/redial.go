package gossip

import (
	"bufio"
	"context"
	"errors"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"
	mss "github.com/multiformats/go-multistream"

	pb "github.com/cellnode/cellnode/gossip/gossippb"
)

// RedialTimeout bounds a fresh connection; the machine has judged by then.
const RedialTimeout = 3 * time.Second

// redialLater tries a fresh connection in the background. g.mu is held.
func (g *Gossip) redialLater(info peer.AddrInfo) {
	if g.redials[info.ID] {
		return
	}
	g.redials[info.ID] = true
	g.wg.Go(func() {
		err := g.redialInTurn(info)
		g.log.Debug("redialled", "peer", info.ID, "err", err)
		g.input(func(now time.Time, m *Machine) {
			delete(g.redials, info.ID)
			m.Redialled(now, info.ID, err == nil)
		})
	})
}

// redialInTurn waits for its turn among the dials, which RedialTimeout leaves out.
func (g *Gossip) redialInTurn(info peer.AddrInfo) error {
	done, err := g.dials.begin(g.ctx, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(g.ctx, RedialTimeout)
	defer cancel()
	err = g.redial(ctx, info)
	done(err == nil)
	return err
}

// redial reports whether a peer answers over a connection made just now. A host gives the connection that it already
// has to whoever dials, so its transports are used beside it.
func (g *Gossip) redial(ctx context.Context, info peer.AddrInfo) error {
	if g.cfg.Redial != nil {
		return g.cfg.Redial(ctx, info)
	}
	dialer, ok := g.cfg.Host.Network().(interface {
		TransportForDialing(ma.Multiaddr) transport.Transport
	})
	if !ok || len(info.Addrs) == 0 {
		return errors.New("gossip: no way to make a fresh connection")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(info.Addrs))
	for _, addr := range info.Addrs {
		g.wg.Go(func() { results <- g.probeOver(ctx, dialer.TransportForDialing(addr), addr, info.ID) })
	}
	var err error
	for range info.Addrs {
		if err = <-results; err == nil {
			return nil
		}
	}
	return err
}

// probeOver makes one connection, asks over it, and closes it.
func (g *Gossip) probeOver(ctx context.Context, t transport.Transport, addr ma.Multiaddr, id peer.ID) error {
	if t == nil {
		return errors.New("gossip: no transport for " + addr.String())
	}
	conn, err := t.Dial(ctx, addr, id)
	if err != nil {
		return err
	}
	defer conn.Close()
	s, err := conn.OpenStream(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	if err := mss.SelectProtoOrFail(protocol.ID(Protocol), s); err != nil {
		return err
	}
	return g.askOver(s)
}

// askOver sends the one ping of a stream and waits for its ack.
func (g *Gossip) askOver(s io.ReadWriter) error {
	ping, err := encodeProbe(&Ping{ID: 1}, g.cfg.Cell)
	if err != nil {
		return err
	}
	if _, err := s.Write(ping); err != nil {
		return err
	}
	frame, err := readFrame(bufio.NewReader(s))
	if err != nil {
		return err
	}
	if frame.GetAck().GetId() != 1 {
		return errFrame
	}
	return nil
}

// answerProbe answers the ping of a stream that carries nothing else.
func (g *Gossip) answerProbe(s network.Stream, p *pb.Ping) {
	if err := g.ackOver(s, p); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func (g *Gossip) ackOver(s network.Stream, p *pb.Ping) error {
	msg, err := toPing(p)
	if err != nil {
		return err
	}
	var ack *Ack
	if !g.input(func(_ time.Time, m *Machine) { ack = m.Answer(msg.(*Ping)) }) {
		return ErrClosed
	}
	frame, err := Encode(ack, g.cfg.Cell)
	if err != nil {
		return err
	}
	if err := s.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err = s.Write(frame)
	return err
}
