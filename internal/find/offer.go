package find

import (
	"context"
	"errors"
	"time"

	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/internal/stall"
)

// Interfaces compares what instances offer with what is wanted. It may be called from any number of goroutines.
type Interfaces interface {
	// Compare returns nil if calls made for the wanted interface fit the offered one, a *manifest.IncompatibleError that
	// names what they would miss, or why that cannot be found out. Both are fingerprints. fetch brings the offered
	// interface from an instance, as it sends it: it may be anything.
	Compare(ctx context.Context, wanted, offered string, fetch func(context.Context) ([]byte, error)) error
}

// MismatchError says that an instance's interface has been compared with the wanted one, and cannot stand in for it.
type MismatchError struct {
	Refused *link.Refused
	Err     error // as Interfaces.Compare returned it
}

// Error returns both values and what makes the difference.
func (e *MismatchError) Error() string { return e.Refused.Error() + ": " + e.Err.Error() }

// Unwrap returns both errors.
func (e *MismatchError) Unwrap() []error { return []error{e.Refused, e.Err} }

// offer is what an instance runs, in hex; empty where it does not say.
type offer struct{ commit, fingerprint string }

// hello asks for what is wanted or, of an instance that runs something else which is as good, for that.
func (t *Tracker) hello(op link.Op, as *offer) link.Hello {
	r := t.cfg.Request
	h := link.Hello{Op: op, Cell: r.Cell.ID(), Commit: r.Commit, Fingerprint: r.Fingerprint, Trust: t.cfg.Authority.Version()}
	if as == nil || r.Fingerprint == "" {
		return h
	}
	h.Fingerprint = as.fingerprint
	if r.Commit != "" {
		h.Commit = as.commit
	}
	return h
}

// offered is what a live instance said last.
func (i Instance) offered() *offer { return &offer{i.Commit, i.Fingerprint} }

// offeredBy is that of a peer; nil where it is not live.
func (t *Tracker) offeredBy(to link.Target) *offer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.table.entries[to.Peer]; e != nil && e.live {
		return &offer{e.commit, e.print}
	}
	return nil
}

// asked probes an instance. One that refuses because it runs something else is judged by us, not by itself: if that is as
// good as what is wanted, it is asked again for what it has.
func (t *Tracker) asked(ctx context.Context, to link.Target) (link.Probe, error) {
	p, err := t.probeOnce(ctx, to, t.offeredBy(to))
	var refused *link.Refused
	if !errors.As(err, &refused) || refused.Code != link.CodeCommit && refused.Code != link.CodeFingerprint {
		return p, err
	}
	as, err := t.judge(ctx, to, refused)
	if err != nil {
		return p, err
	}
	return t.probeOnce(ctx, to, as)
}

// punchTime is how much longer a probe may take of an instance to which a path may have to be opened through NATs.
const punchTime = 4 * time.Second

func (t *Tracker) probeOnce(ctx context.Context, to link.Target, as *offer) (link.Probe, error) {
	limit := t.cfg.ProbeTimeout
	if _, circuits := record.SplitCircuits(to.Addrs); len(circuits) > 0 {
		limit += punchTime
	}
	ctx, cancel := stall.WithTimeout(ctx, limit)
	defer cancel()
	return t.cfg.Dialer.Probe(ctx, to, t.hello(link.Probing, as))
}

// judge says whether what an instance runs is as good as what is wanted. For a cell with an interface that is the
// interface: the wanted one, or one that adds to it, whatever commit it comes from – who may serve is the grant's affair,
// and a commit is only what an instance says of itself. For one without, nothing stands in for the commit. The instance is
// held to its signed record.
func (t *Tracker) judge(ctx context.Context, to link.Target, refused *link.Refused) (*offer, error) {
	wanted := t.cfg.Request.Fingerprint
	rec, err := t.verify(to, refused.Welcome)
	if err != nil || wanted == "" || rec.Fingerprint == "" {
		return nil, refused
	}
	as := &offer{rec.Commit, rec.Fingerprint}
	if rec.Fingerprint == wanted {
		return as, nil
	}
	if t.cfg.Interfaces == nil {
		return nil, refused
	}
	err = t.cfg.Interfaces.Compare(ctx, wanted, rec.Fingerprint, func(ctx context.Context) ([]byte, error) {
		return t.fetch(ctx, to, rec.Fingerprint)
	})
	if err != nil {
		return nil, &MismatchError{refused, err}
	}
	return as, nil
}

// Interface asks an instance that has answered for its interface, and returns what it sends.
func (t *Tracker) Interface(ctx context.Context, i Instance) ([]byte, error) {
	if i.Socket != "" || i.Self {
		return nil, link.ErrNoInterface
	}
	return t.fetch(ctx, t.target(i), i.Fingerprint)
}

func (t *Tracker) fetch(ctx context.Context, to link.Target, fingerprint string) ([]byte, error) {
	return t.cfg.Dialer.Interface(ctx, to, link.Hello{Cell: t.cfg.Request.Cell.ID(), Fingerprint: fingerprint})
}
