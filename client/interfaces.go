package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/cellnode/cellnode/manifest"
)

const (
	// maxVerdicts bounds what is remembered of comparisons: in an open cell anybody may offer interfaces without end.
	maxVerdicts = 256
	// maxComparing is how many comparisons a Client makes at once. One takes some 20 MB at worst, and what asks for it may
	// be hostile; a single slow instance must not keep the others from being judged.
	maxComparing = 4
)

// verdicts remembers how the interfaces that instances offer compare with the wanted ones, for all cells of a Client.
type verdicts struct {
	slots chan struct{} // maxComparing of them

	mu sync.Mutex
	of map[comparison]error // nil: calls fit
}

// comparison is a pair of fingerprints.
type comparison struct{ wanted, offered string }

func (v *verdicts) get(of comparison) (err error, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	err, known = v.of[of]
	return err, known
}

func (v *verdicts) put(of comparison, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil || len(v.of) >= maxVerdicts {
		v.of = map[comparison]error{}
	}
	v.of[of] = err
}

// cellInterfaces compares for one cell. It implements find.Interfaces.
type cellInterfaces struct {
	*Client
	*Resolved
}

// Compare implements find.Interfaces. What is found out holds for good, since both are named by their hashes; what hinders
// it is not remembered.
func (c cellInterfaces) Compare(ctx context.Context, wanted, offered string, fetch func(context.Context) ([]byte, error)) error {
	key := comparison{wanted, offered}
	if err, known := c.verdicts.get(key); known {
		return err
	}
	select {
	case c.verdicts.slots <- struct{}{}:
		defer func() { <-c.verdicts.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err, known := c.verdicts.get(key); known {
		return err
	}
	want, err := c.wantedInterface(ctx, wanted)
	if err != nil {
		return fmt.Errorf("the wanted interface cannot be read to compare them: %w", err)
	}
	offer, err := c.offeredInterface(ctx, offered, fetch)
	if err != nil {
		return fmt.Errorf("the offered interface cannot be had to compare them: %w", err)
	}
	err = nil
	if breaking := want.Breaking(offer); len(breaking) > 0 {
		err = &manifest.IncompatibleError{Breaking: breaking}
	}
	c.verdicts.put(key, err)
	return err
}

// wantedInterface is what a generated package brings along, what has been kept, or what the repository has at the commit
// of Cell.lock, which mostly lies in the cache.
func (c cellInterfaces) wantedInterface(ctx context.Context, fingerprint string) (set manifest.InterfaceSet, err error) {
	if c.Interface != nil {
		if set, err = c.Interface(); err != nil || set.Fingerprint() == fingerprint {
			return set, err
		}
	}
	if set, err = c.keptInterface(fingerprint); err == nil {
		return set, nil
	}
	if c.Locked == nil || c.Locked.Commit == "" {
		return set, err
	}
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	m, err := c.source.ManifestAt(ctx, c.Git, c.Cell.Tag, c.Locked.Commit)
	if err != nil {
		return set, err
	}
	p := m.File.Package
	if set, err = manifest.CompileSet(m.Raw, p.Interface, p.ImportRoots); err != nil {
		return set, err
	}
	if set.Fingerprint() != fingerprint {
		return set, fmt.Errorf("client: at commit %s the interface is %s, wanted is %s", c.Locked.Commit, set.Fingerprint(), fingerprint)
	}
	data, err := set.Marshal()
	if err == nil {
		c.keepInterface(fingerprint, data)
	}
	return set, nil // one that is too large to be kept is no worse for it
}

var errForged = errors.New("client: what the instance hands over is not the interface that it names in its record")

func (c cellInterfaces) offeredInterface(ctx context.Context, fingerprint string, fetch func(context.Context) ([]byte, error)) (set manifest.InterfaceSet, err error) {
	if set, err = c.keptInterface(fingerprint); err == nil || fetch == nil {
		return set, err
	}
	data, err := fetch(ctx)
	if err != nil {
		return set, err
	}
	if set, err = manifest.ParseInterfaceSet(data); err != nil {
		return set, err
	}
	if set.Fingerprint() != fingerprint {
		return set, errForged
	}
	c.keepInterface(fingerprint, data)
	return set, nil
}

func (c cellInterfaces) keptInterface(fingerprint string) (manifest.InterfaceSet, error) {
	if c.home == nil {
		return manifest.InterfaceSet{}, fs.ErrNotExist
	}
	return c.home.Interface(fingerprint)
}

// keepInterface saves the next process a question. That it cannot changes nothing for this one.
func (c cellInterfaces) keepInterface(fingerprint string, data []byte) {
	if c.home == nil {
		return
	}
	if err := c.home.KeepInterface(fingerprint, data); err != nil {
		c.log.Warn("an interface is not remembered", "fingerprint", fingerprint, "err", err)
	}
}
