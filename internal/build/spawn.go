package build

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cellnode/cellnode/internal/daemon"
)

// SpawnError says that no instance may be used, and that none can be started here either.
type SpawnError struct {
	Name string
	Far  string // why none of those that are known is used
	Err  error  // why none is started
}

func (e *SpawnError) Error() string {
	return fmt.Sprintf("build: cell %s: %s; and it cannot be started here: %s", e.Name, e.Far, strings.TrimPrefix(e.Err.Error(), "client: "))
}

// Unwrap returns why none is started.
func (e *SpawnError) Unwrap() error { return e.Err }

// spawn is the seed's fifth step: the machine's node builds the cell at its commit, starts it and waits until it is ready.
// A step that writes nothing starts nothing.
func (b *Builder) spawn(ctx context.Context, f *facts, r *Report) error {
	if b.cfg.ReadOnly {
		r.Reasons = append(r.Reasons, "nothing is started, for nothing is to be changed")
		return nil
	}
	far := strings.Join(r.Reasons[:len(r.Reasons)-1], ", ") // the last says that it is to be started here
	started, err := b.ask(ctx, f)
	if err != nil {
		return &SpawnError{f.dep.Name, far, err}
	}
	if started.Fingerprint != f.fingerprint {
		return &SpawnError{f.dep.Name, far, fmt.Errorf("its commit has interface %s, wanted is %s", short(started.Fingerprint), short(f.fingerprint))}
	}
	r.Started = &started
	r.Reasons = append(r.Reasons, "started here: "+how(started))
	r.Instances = slices.Insert(r.Instances, 0, Row{Peer: started.Peer, Path: "local", Fingerprint: started.Fingerprint, Verdict: "used"})
	return nil
}

// ask asks the machine's node.
func (b *Builder) ask(ctx context.Context, f *facts) (daemon.Spawned, error) {
	if b.client == nil {
		if err := b.reopen(nil); err != nil {
			return daemon.Spawned{}, err
		}
	}
	q := daemon.SpawnQuery{
		Repository: f.dep.Git, Tag: f.dep.Tag, Commit: f.commit, Path: b.tree(f.dep), NoSandbox: f.dep.Policy.Sandbox == "none", Binary: f.dep.Policy.Binary,
		Share: f.dep.Policy.Share,
	}
	return b.client.Spawn(ctx, q, func(step string) { b.cfg.Progress(f.dep.Name, step) })
}

// how says in a clause where the instance comes from.
func how(s daemon.Spawned) string {
	switch {
	case s.Ran:
		return "it runs already at " + s.Socket
	case s.Signed:
		return fmt.Sprintf("the binary is signed by its publishers, ready in %.0f ms at %s", s.StartMillis, s.Socket)
	case s.Hit:
		return fmt.Sprintf("from the cache, ready in %.0f ms at %s", s.StartMillis, s.Socket)
	}
	return fmt.Sprintf("built in %.0f ms, ready in %.0f ms at %s", s.BuildMillis, s.StartMillis, s.Socket)
}
