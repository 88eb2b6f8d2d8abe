package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/client/cellproto"
	"github.com/cellnode/cellnode/manifest"
)

// Registration is what a generated package knows of its cell: what Cell.toml and Cell.lock said when it was generated.
type Registration struct {
	Name        string // the local name of the cell, as in Cell.toml
	Repository  string // canonical, see manifest.Cell
	Tag         string
	Git         string        // where the repository is fetched from; empty: as manifest.Cell.URL says
	Commit      string        // that instances are to run, 40 or 64 hex digits; empty: any
	Fingerprint string        // of the interface, 64 hex digits; empty: the cell declares none
	Interface   *Interface    // that Fingerprint names; nil: instances with another one are not compared
	Trust       *Trust        // who may serve; nil: the cell was open
	MaxLatency  time.Duration // the best round trip above it is too far; 0: no limit; negative: max_latency_ms = 0, every one is
	AllowOpen   bool          // the consumer takes the cell although it is open
	AutoSpawn   bool          // none within MaxLatency: the machine's node starts one here
	Share       bool          // and what it starts serves other machines too
	NoSandbox   bool          // even where there is no sandbox
	Binary      string        // what is done with ready-made binaries, as in Cell.toml; empty: verify
	Seeds       []Seed
}

// Interface is the interface that a generated package was made from: what the instances of later ones are compared with.
type Interface struct {
	Package string   // import path, see cellproto.In
	Files   []string // names of the interface files in it
	Opaque  []string // SHA-256, hex, of each interface file that is not protobuf
}

// set looks the interface up. The package registers its files while the program starts, so this comes later.
func (i *Interface) set() (manifest.InterfaceSet, error) {
	set := manifest.InterfaceSet{Opaque: i.Opaque}
	for _, name := range i.Files {
		f, err := cellproto.In(i.Package).FindFileByPath(name)
		if err != nil {
			return set, fmt.Errorf("client: package %s has no interface file %s: generate it again", i.Package, name)
		}
		set.Files = append(set.Files, f)
	}
	return set, nil
}

// Trust names the publishers of a cell.
type Trust struct {
	Keys      []string // as in [trust] keys of Cell.toml
	Threshold int      // signatures that a new version of the trust document needs
	Version   uint64   // of the trust document; 0: the [trust] of Cell.toml
	Document  string   // the trust document, base64; empty: none
}

// Seed is an instance that was alive when the package was generated.
type Seed struct {
	Peer  string   // peer ID
	Addrs []string // multiaddrs, without /p2p
}

var registered struct {
	sync.Mutex
	list []Registration
}

// Register makes a cell known to every Client of the program, under its local name and as repository@tag, before any
// Cell.toml. Generated packages call it when they are imported. What is wrong with r is said when the cell is asked for.
func Register(r Registration) {
	registered.Lock()
	defer registered.Unlock()
	registered.list = append(registered.list, r)
}

// resolveRegistered returns the registered cell that arg names, or nil.
func resolveRegistered(arg string) (*Resolved, error) {
	registered.Lock()
	list := slices.Clone(registered.list)
	registered.Unlock()
	var found *Registration
	for i, r := range list {
		if r.Name != arg && r.Repository+"@"+r.Tag != arg {
			continue
		}
		if found != nil && (found.Repository != r.Repository || found.Tag != r.Tag) {
			return nil, fmt.Errorf("client: packages of this program call different cells %q: %s@%s and %s@%s; name one of them so", arg, found.Repository, found.Tag, r.Repository, r.Tag)
		}
		if found != nil && found.Fingerprint != r.Fingerprint {
			return nil, fmt.Errorf("client: two packages of this program were generated for %s@%s at different times: run cellnode remote for both", r.Repository, r.Tag)
		}
		if found == nil {
			found = &list[i]
		}
	}
	if found == nil {
		return nil, nil
	}
	return found.resolve()
}

func (r *Registration) resolve() (*Resolved, error) {
	cell, err := manifest.NewCell(r.Repository, r.Tag)
	if err != nil {
		return nil, fmt.Errorf("client: registered cell %q: %w", r.Name, err)
	}
	locked := manifest.LockedCell{Name: r.Name, Cell: cell, Git: r.Git, Commit: r.Commit, Fingerprint: r.Fingerprint}
	if locked.Git == "" {
		locked.Git = cell.URL()
	}
	if t := r.Trust; t != nil {
		locked.Trust = &manifest.LockedTrust{Keys: t.Keys, Threshold: t.Threshold, Version: t.Version, Document: t.Document}
	}
	var errs []error
	for _, s := range r.Seeds {
		seed, err := s.parse()
		errs = append(errs, err)
		locked.Seeds = append(locked.Seeds, seed)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("client: registered cell %q: %s: generate its package again", r.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	out := &Resolved{Name: r.Name, Cell: cell, Git: locked.Git, Locked: &locked}
	if r.Interface != nil {
		out.Interface = r.Interface.set
	}
	out.Policy.AllowOpen, out.Policy.AutoSpawn = r.AllowOpen, r.AutoSpawn
	out.Policy.Binary = r.Binary
	out.Policy.Share = r.Share
	if r.NoSandbox {
		out.Policy.Sandbox = "none"
	}
	if r.MaxLatency != 0 {
		limit := max(0, r.MaxLatency)
		out.Policy.MaxLatency = &limit
	}
	return out, nil
}

func (s Seed) parse() (manifest.Seed, error) {
	id, err := peer.Decode(s.Peer)
	if err != nil {
		return manifest.Seed{}, fmt.Errorf("seed %q: %w", s.Peer, err)
	}
	seed := manifest.Seed{Peer: id}
	for _, text := range s.Addrs {
		addr, err := ma.NewMultiaddr(text)
		if err != nil {
			return manifest.Seed{}, fmt.Errorf("seed %s: %w", s.Peer, err)
		}
		seed.Addrs = append(seed.Addrs, addr)
	}
	return seed, nil
}
