package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/testnet"
)

func seedsOf(nodes []testnet.Node) ([]manifest.Seed, error) {
	var list []manifest.Seed
	for _, n := range nodes {
		id, err := peer.Decode(n.Peer)
		if err != nil {
			return nil, err
		}
		s := manifest.Seed{Peer: id}
		for _, text := range n.Addrs {
			a, err := ma.NewMultiaddr(text)
			if err != nil {
				return nil, err
			}
			s.Addrs = append(s.Addrs, a)
		}
		list = append(list, s)
	}
	return list, nil
}

// pushSeeds puts the list of instances into the repository, as a commit without parents on refs/cell/seeds.
func (d *demo) pushSeeds(ctx context.Context, seeds []manifest.Seed) error {
	list := manifest.SeedList{Cell: d.cell.ID(), Updated: time.Now().UTC().Truncate(time.Second), Instances: seeds}
	data, err := list.Marshal()
	if err != nil {
		return err
	}
	blob, err := d.gitOutput(ctx, data, "hash-object", "-w", "--stdin")
	if err != nil {
		return err
	}
	tree, err := d.gitOutput(ctx, []byte("100644 blob "+blob+"\tinstances.json\n"), "mktree")
	if err != nil {
		return err
	}
	commit, err := d.gitOutput(ctx, []byte("seeds\n"), "commit-tree", tree)
	if err != nil {
		return err
	}
	_, err = d.gitOutput(ctx, nil, "update-ref", "refs/cell/seeds", commit)
	return err
}

func (d *demo) gitOutput(ctx context.Context, in []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "user.name=demo", "-c", "user.email=demo@localhost", "-C", d.bare()}, args...)...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// writeConsumer writes the two files that a consumer has: Cell.toml, and the lock that the build step leaves.
func (d *demo) writeConsumer(dir string, seeds []manifest.Seed) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf("[cell.exchange]\ngit = %q\ntag = %q\n", d.url, tag)
	if err := os.WriteFile(filepath.Join(dir, "Cell.toml"), []byte(text), 0o600); err != nil {
		return err
	}
	trust := &manifest.LockedTrust{Keys: d.trust.Keys, Threshold: d.trust.Threshold}
	lock := manifest.Lock{Cells: []manifest.LockedCell{{Name: "exchange", Cell: d.cell, Git: d.url, Commit: d.commit, Fingerprint: d.print, Trust: trust, Seeds: seeds}}}
	data, err := lock.Marshal()
	if err != nil {
		return err
	}
	return manifest.WriteFile(filepath.Join(dir, "Cell.lock"), data, 0o600)
}
