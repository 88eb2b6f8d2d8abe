package overlay

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
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

// maxListed is how many members one answer names.
const maxListed = 64

// List answers with the cell's members as gossip knows them.
func (h *handler) List(_ context.Context, hello link.Hello) (link.List, error) {
	i := h.instance(hello.Cell)
	if i == nil {
		return link.List{}, notServed(hello.Cell)
	}
	return i.list(hello), nil
}

func notServed(cell cid.Cid) error { return fmt.Errorf("overlay: cell %s is not served here", cell) }

// Interface is what the service says of itself.
func (h *handler) Interface(cell cid.Cid) []byte {
	if i := h.instance(cell); i != nil {
		return i.service.Interface
	}
	return nil
}

// Entrust has the cell's authority take a trust document; gossip passes it on.
func (h *handler) Entrust(cell cid.Cid, document []byte) error {
	i := h.instance(cell)
	if i == nil {
		return notServed(cell)
	}
	_, err := i.service.Authority.Take(document, time.Now())
	return err
}

// newerTrust is the trust document, if it is newer than a client's.
func (i *Instance) newerTrust(than uint64) []byte {
	if i.service.Authority.Version() <= than {
		return nil
	}
	return i.service.Authority.Chain()
}

func (i *Instance) list(hello link.Hello) link.List {
	now := i.etag()
	if bytes.Equal(hello.ETag, now) {
		return link.List{ETag: now, NotModified: true}
	}
	l := link.List{ETag: now, Full: true, Trust: i.newerTrust(hello.Trust)}
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
func (h *handler) Watch(ctx context.Context, hello link.Hello, send func(link.List) error) error {
	i := h.instance(hello.Cell)
	if i == nil {
		return notServed(hello.Cell)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &trustingWatch{instance: i, known: hello.Trust, send: send}
	stop := func() {}
	defer func() { stop() }()
	var failed error
	first := true
	err := i.gossip.Watch(ctx, func(events []gossip.Event) {
		if failed != nil {
			return
		}
		list := i.changes(events)
		if first { // these are the members so far
			list.Full, list.ETag = true, i.etag()
		}
		if failed = w.list(list); failed != nil {
			cancel()
			return
		}
		if first {
			first, stop = false, w.follow(ctx)
		}
	})
	if failed != nil {
		return failed
	}
	return err
}

// trustingWatch sends lists to one client, each with the trust document if that is newer than what the client has: what it
// lets in comes behind it.
type trustingWatch struct {
	instance *Instance
	send     func(link.List) error

	mu    sync.Mutex
	known uint64 // the version that the client has
}

func (w *trustingWatch) list(l link.List) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	authority := w.instance.service.Authority
	if version := authority.Version(); version > w.known {
		l.Trust, w.known = authority.Chain(), version
	}
	return w.send(l)
}

// follow sends each newer document as soon as there is one, from a goroutine of its own, until stop. A client that does not
// take it is noticed by the next list.
func (w *trustingWatch) follow(ctx context.Context) (stop func()) {
	changed := make(chan struct{}, 1)
	forget := w.instance.service.Authority.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			if w.list(link.List{}) != nil {
				return
			}
		}
	})
	return func() {
		forget()
		cancel()
		wg.Wait()
	}
}

func (i *Instance) changes(events []gossip.Event) link.List {
	var l link.List
	for _, e := range events {
		switch e.Kind {
		case gossip.Dead, gossip.Left, gossip.Expired, gossip.Revoked:
			l.Gone = append(l.Gone, gone(e))
		case gossip.Twin: // nobody's record has changed
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
