package build

import (
	"fmt"

	"github.com/cellnode/cellnode/manifest"
)

// SetSeeds puts a seed list into Cell.lock in place of the one there, and into the packages generated for the cell. It
// keeps peers and addresses; records age, and a handshake proves more.
func (b *Builder) SetSeeds(name string, seeds []manifest.Seed) error {
	locked, ok := b.consumer.lock.Find(name)
	if !ok {
		return fmt.Errorf("build: Cell.lock does not name %q: cellnode remote writes it", name)
	}
	locked.Seeds = make([]manifest.Seed, 0, len(seeds))
	for _, s := range seeds {
		if len(s.Addrs) > 0 {
			locked.Seeds = append(locked.Seeds, manifest.Seed{Peer: s.Peer, Addrs: s.Addrs})
		}
	}
	if _, _, err := pin(b.consumer.lock, locked); err != nil {
		return err
	}
	return b.writeLock(b.consumer.lock)
}
