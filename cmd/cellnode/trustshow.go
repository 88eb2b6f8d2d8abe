package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
)

// shownTrust is what the trust commands print.
type shownTrust struct {
	Cell       string           `json:"cell"`
	Version    uint64           `json:"version"` // 0: what Cell.toml says
	Threshold  int              `json:"threshold"`
	Expires    *time.Time       `json:"expires,omitempty"`
	Publishers []shownPublisher `json:"publishers"`
	Revoked    struct {
		Peers   []string `json:"peers"`
		Serials []uint64 `json:"serials"`
	} `json:"revoked"`
	File string `json:"file,omitempty"` // that it was written to
	Told int    `json:"told,omitempty"` // live instances that took it
}

type shownPublisher struct {
	Key string   `json:"key"`
	May []string `json:"may"` // sign
}

func newShownTrust(cell manifest.Cell, t record.Trust, file string, told int) *shownTrust {
	s := &shownTrust{Cell: cell.String(), Version: t.Version, Threshold: t.Threshold, Publishers: []shownPublisher{}, File: file, Told: told}
	if t.Version > 0 {
		expires := t.Expires.UTC()
		s.Expires = &expires
	}
	for _, p := range t.Publishers {
		shown := shownPublisher{Key: p.Key, May: []string{}}
		for _, c := range p.Capabilities {
			shown.May = append(shown.May, c.String())
		}
		s.Publishers = append(s.Publishers, shown)
	}
	s.Revoked.Peers, s.Revoked.Serials = []string{}, append([]uint64{}, t.RevokedSerials...)
	for _, id := range t.RevokedPeers {
		s.Revoked.Peers = append(s.Revoked.Peers, id.String())
	}
	return s
}

func (s *shownTrust) text(w io.Writer) error {
	until := "as Cell.toml says"
	if s.Expires != nil {
		until = "valid until " + s.Expires.Format(time.DateOnly)
	}
	fmt.Fprintf(w, "%s  version %d, %s; %d of %d must sign the next\n", s.Cell, s.Version, until, s.Threshold, len(s.Publishers))
	for _, p := range s.Publishers {
		fmt.Fprintf(w, "  %s  may sign %s\n", p.Key, strings.Join(p.May, ", "))
	}
	for _, id := range s.Revoked.Peers {
		fmt.Fprintf(w, "  revoked: peer %s\n", id)
	}
	for _, serial := range s.Revoked.Serials {
		fmt.Fprintf(w, "  revoked: grant %d\n", serial)
	}
	if s.Told > 0 {
		fmt.Fprintf(w, "%d live instances have it and pass it on\n", s.Told)
	}
	return nil
}
