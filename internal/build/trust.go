package build

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// trust is what Cell.lock is to say of a cell's publishers: the newest trust document of those that the lock and the
// repository hold, so that whoever runs the build's result never goes by an older one. now is what Cell.toml says; nil for
// an open cell. A repository that cannot be asked is no error: instances bring the newest document at run time.
func (b *Builder) trust(ctx context.Context, dep manifest.Dependency, now *manifest.LockedTrust, old manifest.LockedCell) (*manifest.LockedTrust, error) {
	if now == nil {
		return nil, nil
	}
	seen := ""
	if old.Trust != nil && old.Cell == dep.Cell {
		if !b.cfg.Update {
			now = &manifest.LockedTrust{Keys: old.Trust.Keys, Threshold: old.Trust.Threshold}
		}
		seen = old.Trust.Document
	}
	a, err := record.NewAuthority(dep.Cell, *now.Trust())
	if err != nil {
		return nil, err
	}
	if seen != "" {
		chain, err := record.ParseTrust(seen)
		if err == nil {
			_, err = a.Take(chain.Bytes(), time.Now())
		}
		if err != nil && !b.cfg.Update {
			return nil, fmt.Errorf("build: cell %s: its trust document in Cell.lock is not taken (%w): if its publishers began anew, accept that with --update", dep.Name, err)
		}
	}
	chain, _, err := b.source.Trust(ctx, dep.Git, dep.Cell)
	if err == nil && chain != nil {
		_, err = a.Take(chain.Bytes(), time.Now())
	}
	if err != nil {
		b.cfg.Log.Warn("the trust document of the repository is not taken", "cell", dep.Cell.String(), "err", err)
	}
	out := &manifest.LockedTrust{Keys: now.Keys, Threshold: now.Threshold, Version: a.Version()}
	if out.Version > 0 {
		out.Document = base64.StdEncoding.EncodeToString(a.Chain())
	}
	return out, nil
}
