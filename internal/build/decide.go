package build

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// maxEmbedded is how many instances are embedded: the nearest ones. One that lives suffices to find the others.
const maxEmbedded = 16

// Report is what became of one cell.
type Report struct {
	Name        string          `json:"name"`
	Cell        string          `json:"cell"`
	Commit      string          `json:"commit,omitempty"`
	Fingerprint string          `json:"fingerprint"`
	Choice      string          `json:"choice"` // local, remote, spawn, refuse; development with path
	BestMillis  float64         `json:"best_ms,omitempty"`
	LimitMillis *int64          `json:"limit_ms,omitempty"`
	Reasons     []string        `json:"reasons"`
	Instances   []Row           `json:"instances"`
	Packages    []Package       `json:"packages,omitempty"` // the generated clients
	Changed     bool            `json:"changed"`            // files were written, or would be: Cell.lock or a package
	Breaking    []string        `json:"breaking,omitempty"` // what the accepted interface has broken
	Started     *daemon.Spawned `json:"started,omitempty"`  // with the choice spawn: what runs here now
	facts       *facts          // nil when nothing was asked
	decision    manifest.Decision
	candidates  []candidate
}

// Package is a generated client.
type Package struct {
	Path    string `json:"path"`    // to import it by
	Changed bool   `json:"changed"` // it differs from what is on disk, or did before this run
	Written bool   `json:"written"` // it is on disk now
}

// Row is one instance of a Report.
type Row struct {
	Peer        string  `json:"peer"`
	Path        string  `json:"path"` // local, tcp, quic; empty: it did not answer
	RTTMillis   float64 `json:"rtt_ms,omitempty"`
	Fingerprint string  `json:"fingerprint,omitempty"`
	Verdict     string  `json:"verdict"`
}

// compare notes what an accepted change of the interface means for code that exists.
func (r *Report) compare(breaking []string, compared bool) {
	if !compared {
		r.Reasons = append(r.Reasons, "the interface has changed, and the old one cannot be read to compare them")
		return
	}
	r.Breaking = breaking
	r.Reasons = append(r.Reasons, "the interface has changed"+consequence(breaking, compared))
}

type candidate struct {
	manifest.Candidate
	seed manifest.Seed
	path string
}

// decide goes through the seed's steps for one cell whose facts are known.
func (b *Builder) decide(ctx context.Context, f *facts) (*Report, error) {
	r := &Report{Name: f.dep.Name, Cell: f.dep.Cell.String(), Commit: f.commit, Fingerprint: f.fingerprint, Instances: []Row{}, Reasons: []string{}}
	if limit := f.dep.Policy.MaxLatency; limit != nil {
		ms := limit.Milliseconds()
		r.LimitMillis = &ms
	}
	if f.dep.Path != "" {
		r.Choice, r.Reasons = "development", []string{"path is set: the interface is that of " + f.dep.Path + ", and no instance is asked"}
		if f.dep.Policy.AutoSpawn {
			r.Reasons = append(r.Reasons, "auto_spawn is set: it is built and started here")
			return r, b.spawn(ctx, f, r)
		}
		return r, nil
	}
	if f.stale {
		r.Reasons = append(r.Reasons, "the repository did not answer: this is what it said last")
	}
	r.facts = f
	wanted := manifest.Wanted{Name: f.dep.Name, Fingerprint: f.fingerprint}
	local, row, err := b.local(ctx, f)
	if err != nil {
		return nil, err
	}
	if local == nil || local.Fingerprint != f.fingerprint && !local.Compatible { // the seed's first step ends it otherwise
		if r.candidates, err = b.candidates(ctx, f); err != nil {
			return nil, err
		}
	}
	list := make([]manifest.Candidate, len(r.candidates))
	for i, c := range r.candidates {
		list[i] = c.Candidate
	}
	d := manifest.Decide(wanted, local, list, f.dep.Policy)
	r.decision, r.Choice, r.BestMillis = d, d.Choice.String(), millis(d.Best)
	r.Reasons = append(r.Reasons, d.Reasons...)
	if row != nil {
		if d.Choice == manifest.UseLocal {
			row.Verdict = used(local.Compatible)
		}
		r.Instances = append(r.Instances, *row)
	}
	for _, c := range r.candidates {
		r.Instances = append(r.Instances, c.row(f, d))
	}
	switch d.Choice {
	case manifest.Spawn:
		return r, b.spawn(ctx, f, r)
	case manifest.Refuse:
		return r, d.Err
	}
	return r, nil
}

// used is the verdict on an instance that is used.
func used(compatible bool) string {
	if compatible {
		return "used; its interface adds to the wanted one"
	}
	return "used"
}

// otherInterface is the verdict on an instance that is not, with what its interface lacks where that is known.
func otherInterface(compared error) string {
	var lacks *manifest.IncompatibleError
	if errors.As(compared, &lacks) {
		return "another interface: " + lacks.Error()
	}
	return "another interface"
}

func (c candidate) row(f *facts, d manifest.Decision) Row {
	row := Row{Peer: c.Peer.String(), Path: c.path, RTTMillis: millis(c.RTT), Fingerprint: c.Fingerprint}
	limit := f.dep.Policy.MaxLatency
	switch {
	case f.dep.Policy.OfflineVendor:
		row.Verdict = "taken unasked"
	case c.Refused != "":
		row.Verdict = c.Refused
	case c.RTT <= 0:
		row.Verdict = "no answer"
	case c.Fingerprint != f.fingerprint && !c.Compatible:
		row.Verdict = "another interface"
	case limit != nil && c.RTT > *limit:
		row.Verdict = "too far"
	case d.Choice == manifest.UseRemote:
		row.Verdict = used(c.Compatible)
	default:
		row.Verdict = "not used"
	}
	return row
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// local is the service of this cell that runs on this machine: one with the wanted interface before one that adds to it,
// and that before others.
func (b *Builder) local(ctx context.Context, f *facts) (*manifest.Local, *Row, error) {
	if b.home == nil {
		return nil, nil, nil
	}
	running, err := b.home.Running()
	if err != nil {
		b.cfg.Log.Warn("damaged registrations of local services", "err", err)
	}
	var local *manifest.Local
	var row *Row
	for _, s := range running {
		same := s.Fingerprint == f.fingerprint
		if s.CID != f.dep.Cell.ID().String() || s.Socket == "" || local != nil && local.Compatible && !same {
			continue
		}
		var compared error
		if !same {
			compared = b.compareLocal(ctx, f, s.Fingerprint)
		}
		if local != nil && compared != nil {
			continue
		}
		local = &manifest.Local{Fingerprint: s.Fingerprint, Compatible: !same && compared == nil}
		row = &Row{Peer: s.Peer, Path: "local", Fingerprint: s.Fingerprint, Verdict: otherInterface(compared)}
		if same {
			break
		}
	}
	return local, row, nil
}

// errNoInterface says that there is nothing to compare.
var errNoInterface = errors.New("build: one of them has no interface")

// compareLocal compares the interface of a service on this machine, which that has left in the home directory.
func (b *Builder) compareLocal(ctx context.Context, f *facts, fingerprint string) error {
	if f.fingerprint == "" || fingerprint == "" {
		return errNoInterface
	}
	if b.client == nil {
		if err := b.reopen([]string{find.List}); err != nil {
			return err
		}
	}
	return b.client.Compare(ctx, b.resolved(f), fingerprint)
}

// resolved is the cell as it is asked for at its instances.
func (b *Builder) resolved(f *facts) *client.Resolved {
	locked := f.locked()
	return &client.Resolved{
		Name: f.dep.Name, Cell: f.dep.Cell, Git: f.dep.Git, Policy: f.dep.Policy, Locked: &locked, File: b.consumer.path,
		Interface: func() (manifest.InterfaceSet, error) {
			p := f.file.Package
			return manifest.CompileSet(f.raw, p.Interface, p.ImportRoots)
		},
	}
}

// candidates are the known instances: those of Cell.lock unasked with offline_vendor, else everyone who can be found.
func (b *Builder) candidates(ctx context.Context, f *facts) ([]candidate, error) {
	locked, ok := b.consumer.lock.Find(f.dep.Name)
	if !ok || locked.Cell != f.dep.Cell {
		locked = manifest.LockedCell{}
	}
	if f.dep.Policy.OfflineVendor || b.cfg.Frozen {
		var out []candidate
		for _, s := range locked.Seeds {
			out = append(out, candidate{Candidate: manifest.Candidate{Peer: s.Peer, Fingerprint: f.fingerprint}, seed: s})
		}
		return out, nil
	}
	wanted := b.resolved(f)
	wanted.Locked.Seeds = b.knownSeeds(ctx, f, locked.Seeds)
	found, verdicts, err := b.survey(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return candidates(found, verdicts), nil
}

// knownSeeds are the instances that Cell.lock and the repository's list name. Without the list the lock's are asked.
func (b *Builder) knownSeeds(ctx context.Context, f *facts, locked []manifest.Seed) []manifest.Seed {
	out := slices.Clone(locked)
	list, err := b.source.SeedsFrom(ctx, f.dep.Cell, urls(f.dep)...)
	if err != nil {
		b.cfg.Log.Warn("no list of instances from the repository", "cell", f.dep.Cell.String(), "err", err)
		return out
	}
	for _, s := range list.Instances {
		if !slices.ContainsFunc(out, func(k manifest.Seed) bool { return k.Peer == s.Peer }) {
			out = append(out, s)
		}
	}
	return out
}

// survey asks the instances that files name, and these for their lists; only where none of them can be used is the network
// searched.
func (b *Builder) survey(ctx context.Context, r *client.Resolved) (found client.Found, verdicts map[string]error, err error) {
	for _, only := range [][]string{{find.List}, nil} {
		if err := b.reopen(only); err != nil {
			return found, nil, err
		}
		ctx, cancel := b.withTimeout(ctx)
		found, verdicts, err = b.client.Survey(ctx, r)
		ended := ctx.Err()
		cancel()
		if err != nil && ended == nil {
			return found, nil, err
		}
		fits := func(i find.Instance) bool {
			compared, differs := verdicts[i.Fingerprint]
			return usable(i) && (i.Fingerprint == r.Locked.Fingerprint || differs && compared == nil)
		}
		if slices.ContainsFunc(found.Instances, fits) {
			break
		}
	}
	return found, verdicts, ctx.Err()
}

// reopen gives the builder a client that uses these ways of finding alone; nil: all.
func (b *Builder) reopen(only []string) error {
	if b.client != nil {
		if err := b.client.Close(); err != nil {
			return err
		}
	}
	var err error
	b.client, err = client.New(client.Config{Dir: b.cfg.Dir, Home: b.cfg.Home, Only: only, NoSpawn: true, Daemon: b.cfg.Daemon, Log: b.cfg.Log})
	return err
}

func usable(i find.Instance) bool { return i.State == record.Serving && !i.Suspect }

func candidates(found client.Found, verdicts map[string]error) []candidate {
	var out []candidate
	for _, i := range found.Instances {
		if i.Path == find.Local {
			continue // step 1 has looked at it
		}
		c := candidate{path: i.Path, seed: manifest.Seed{Peer: i.Peer, Addrs: i.Addrs[:min(len(i.Addrs), manifest.MaxSeedAddrs)]}}
		c.Candidate = manifest.Candidate{Peer: i.Peer, RTT: i.RTT, Fingerprint: i.Fingerprint}
		compared, differs := verdicts[i.Fingerprint]
		c.Compatible = differs && compared == nil
		var lacks *manifest.IncompatibleError
		switch {
		case !usable(i):
			c.Refused = i.State.String()
		case errors.As(compared, &lacks):
			c.Refused = otherInterface(compared)
		}
		out = append(out, c)
	}
	for _, refusal := range found.Refused {
		c := candidate{Candidate: manifest.Candidate{Peer: refusal.Peer}}
		if refusal.Err != nil && !errors.Is(refusal.Err, context.DeadlineExceeded) {
			first, _, _ := strings.Cut(refusal.Err.Error(), "\n")
			c.Refused = strings.TrimPrefix(first, "link: "+refusal.Peer.String()+" ") // its row begins with the peer
		}
		out = append(out, c)
	}
	return out
}

// seeds are the instances to embed: what Cell.lock has while half of it answers, else those that may be used, nearest
// first up to maxEmbedded, and sorted.
func (b *Builder) seeds(f *facts, r *Report) []manifest.Seed {
	locked, ok := b.consumer.lock.Find(f.dep.Name)
	kept := ok && locked.Cell == f.dep.Cell
	if kept && (r.decision.Choice != manifest.UseRemote || f.dep.Policy.OfflineVendor) {
		return locked.Seeds
	}
	usable := map[string]manifest.Seed{}
	for _, c := range r.decision.Remote {
		at := slices.IndexFunc(r.candidates, func(k candidate) bool { return k.Peer == c.Peer })
		if s := r.candidates[at].seed; len(s.Addrs) > 0 && len(usable) < maxEmbedded {
			usable[string(s.Peer)] = s
		}
	}
	if kept && !b.cfg.Update && len(locked.Seeds) > 0 {
		answered := 0
		for _, s := range locked.Seeds {
			if _, ok := usable[string(s.Peer)]; ok {
				answered++
			}
		}
		if 2*answered >= len(locked.Seeds) {
			return locked.Seeds
		}
	}
	out := make([]manifest.Seed, 0, len(usable))
	for _, s := range usable {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b manifest.Seed) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
	return out
}
