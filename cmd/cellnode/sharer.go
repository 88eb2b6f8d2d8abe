package main

import (
	"context"
	"log/slog"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/overlay/sidecar"
	"github.com/cellnode/cellnode/spawn"
)

// sharer puts a node beside a spawned service, as run does beside one that somebody else has started.
type sharer struct {
	dir    *home.Dir
	source *source.Source
	above  []home.Layer // over the home's settings and the environment
	log    *slog.Logger
}

// Share implements spawn.Sharer.
func (s *sharer) Share(ctx context.Context, order spawn.Order, key *home.Key, service home.Running, joined func()) error {
	m, err := s.source.ManifestAt(ctx, order.URL, order.Cell.Tag, order.Commit)
	if err != nil {
		return err
	}
	in, err := sidecar.FromManifest(order.Cell, m)
	if err != nil {
		return err
	}
	reader := repositoryReader{s.dir, s.log}
	beside, err := sidecar.Start(ctx, sidecar.Config{
		Instance: in, Upstream: service.Socket, Key: key, Seeds: reader, Trust: reader, Home: s.dir, Above: s.above, Log: s.log,
	})
	if err != nil {
		return err
	}
	joined()
	select {
	case <-ctx.Done():
		return leave(beside, s.log)
	case <-beside.Done():
		_ = leave(beside, s.log) // why it ended says more
		return beside.Err()
	}
}
