package overlay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
)

// handler answers clients over cell/1. It implements link.Handler.
type handler Node

func (h *handler) instance(cell cid.Cid) *Instance {
	n := (*Node)(h)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.serving[cell]
}

// Welcome says whether the cell is served here as the client wants it. A mismatch is refused with both values.
func (h *handler) Welcome(hello link.Hello, _ peer.ID) link.Welcome {
	i := h.instance(hello.Cell)
	if i == nil {
		return link.Welcome{Code: link.CodeCell, Detail: fmt.Sprintf("cell %s is not served here", hello.Cell)}
	}
	rec := i.Record()
	w := link.Welcome{
		Code:   link.CodeOK,
		Commit: rec.Commit, Fingerprint: rec.Fingerprint, State: i.State(), Incarnation: rec.Incarnation,
		Load: uint32(i.open.value()), Record: rec.Envelope,
	}
	switch {
	case hello.Commit != "" && hello.Commit != rec.Commit:
		w.Code, w.Detail = link.CodeCommit, fmt.Sprintf("commit %s runs here, %s is wanted", orNone(rec.Commit), hello.Commit)
	case hello.Fingerprint != "" && hello.Fingerprint != rec.Fingerprint:
		w.Code, w.Detail = link.CodeFingerprint, fmt.Sprintf("interface %s is served here, %s is wanted", orNone(rec.Fingerprint), hello.Fingerprint)
	case hello.Op == link.Opening && w.State != record.Serving:
		w.Code, w.Detail = link.CodeDraining, fmt.Sprintf("the instance is %s and takes no new calls", w.State)
	}
	return w
}

func orNone(s string) string {
	if s == "" {
		return "(not stated)"
	}
	return s
}

// Open hands a client's connection to the service.
func (h *handler) Open(ctx context.Context, hello link.Hello, c net.Conn) {
	i := h.instance(hello.Cell)
	if i == nil {
		c.Close()
		return
	}
	i.open.add(1)
	defer i.open.add(-1)
	i.service.Handle(ctx, c)
}

// maxListed is how many members one answer names.
const maxListed = 64

// List answers with the cell's members as gossip knows them.
func (h *handler) List(_ context.Context, cell cid.Cid, etag []byte) (link.List, error) {
	i := h.instance(cell)
	if i == nil {
		return link.List{}, fmt.Errorf("overlay: cell %s is not served here", cell)
	}
	return i.list(etag), nil
}

func (i *Instance) list(etag []byte) link.List {
	now := i.etag()
	if bytes.Equal(etag, now) {
		return link.List{ETag: now, NotModified: true}
	}
	l := link.List{ETag: now, Full: true}
	for _, m := range i.gossip.Members() {
		if len(l.Members) == maxListed {
			break
		}
		l.Members = append(l.Members, i.listed(m))
	}
	return l
}

// etag names the present state of the list. That of another incarnation, or of another node, is another one.
func (i *Instance) etag() []byte {
	id := []byte(i.node.ID())
	tag := bytes.Clone(id[max(0, len(id)-8):])
	tag = binary.BigEndian.AppendUint64(tag, i.service.Incarnation)
	return binary.BigEndian.AppendUint64(tag, i.gossip.Version())
}

func (i *Instance) listed(m gossip.Member) link.Member {
	age := time.Duration(0)
	if !m.Self {
		age = max(0, time.Since(m.Heard))
	}
	return link.Member{Record: m.Record, Age: age, Suspect: m.Status == gossip.Suspect}
}

// Watch sends the whole list and then each change.
func (h *handler) Watch(ctx context.Context, cell cid.Cid, send func(link.List) error) error {
	i := h.instance(cell)
	if i == nil {
		return fmt.Errorf("overlay: cell %s is not served here", cell)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	first := true
	err := i.gossip.Watch(ctx, func(events []gossip.Event) {
		if failed != nil {
			return
		}
		list := i.changes(events)
		if first { // these are the members so far
			list.Full, list.ETag, first = true, i.etag(), false
		}
		if failed = send(list); failed != nil {
			cancel()
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

func (i *Instance) changes(events []gossip.Event) link.List {
	var l link.List
	for _, e := range events {
		switch e.Kind {
		case gossip.Dead, gossip.Left, gossip.Expired:
			l.Gone = append(l.Gone, gone(e))
		default:
			l.Members = append(l.Members, i.listed(e.Member))
		}
	}
	return l
}

func gone(e gossip.Event) link.Gone {
	rec := e.Member.Record
	g := link.Gone{Peer: rec.Peer, Incarnation: rec.Incarnation, Reason: e.Kind.String()}
	if e.Kind == gossip.Left && rec.State == record.Leaving {
		g.Leave = rec
	}
	return g
}
