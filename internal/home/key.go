package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/cellnode/cellnode/manifest"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

// maxSlots bounds how many holders of one name a machine has: keys/NAME, keys/NAME.1 … keys/NAME.1023.
const maxSlots = 1024

// Key is an identity in use: no other process of this home directory has it until Close. The fields are read-only.
type Key struct {
	Priv crypto.PrivKey // Ed25519
	Peer peer.ID        // of Priv
	Name string         // the file's name below keys/, as "exchange" or "exchange.1"; "CELL_KEY" if it came from there

	lock         *lock
	mu           sync.Mutex // one Incarnation at a time
	incarnations string     // path of the last one
}

// Key takes CELL_KEY where that is set, as containers do, and else the stored identity of that name, as StoredKey does.
//
// CELL_KEY is a base64 libp2p private key (the line that a key file holds) or the path of a key file. A path may lead
// through symbolic links and may be readable by others, as mounted secrets are; it may not be writable by others. One
// process at a time: a second one with the same CELL_KEY and home directory is refused, for two nodes with one peer ID
// would undo each other's records.
func (d *Dir) Key(name string) (*Key, error) {
	if value := strings.TrimSpace(os.Getenv("CELL_KEY")); value != "" {
		return d.environmentKey(value)
	}
	return d.StoredKey(name)
}

// StoredKey takes the first of keys/NAME, keys/NAME.1 … that nobody holds, and makes it where it is missing. An
// identity that is damaged, another user's, or open to others is an error: it is never passed over or replaced.
func (d *Dir) StoredKey(name string) (*Key, error) {
	if err := manifest.CheckName(name); err != nil {
		return nil, err
	}
	if _, err := d.Sub("keys"); err != nil {
		return nil, err
	}
	base, lock, err := d.firstFree("keys", name)
	if err != nil {
		return nil, err
	}
	priv, err := loadOrCreate(d.Path("keys", base))
	if err != nil {
		lock.release()
		return nil, err
	}
	return newKey(base, priv, d.Path("keys", base+".inc"), lock)
}

// firstFree locks the first free of sub/name.lock, sub/name.1.lock …
func (d *Dir) firstFree(sub, name string) (base string, l *lock, err error) {
	for slot := range maxSlots {
		base = name
		if slot > 0 {
			base = fmt.Sprintf("%s.%d", name, slot)
		}
		if l, err = tryLock(d.Path(sub, base+".lock")); !errors.Is(err, ErrHeld) {
			return base, l, err
		}
	}
	return "", nil, fmt.Errorf("%w: all %d of %s, %s.1 …", ErrHeld, maxSlots, d.Path(sub, name), name)
}

func (d *Dir) environmentKey(value string) (*Key, error) {
	priv, err := parseEnvironmentKey(value)
	if err != nil {
		return nil, err
	}
	if _, err := d.Sub("keys"); err != nil {
		return nil, err
	}
	id, err := peer.IDFromPrivateKey(priv)
	if err != nil {
		return nil, fmt.Errorf("home: CELL_KEY: %w", err)
	}
	base := d.Path("keys", "env-"+id.String())
	lock, err := tryLock(base + ".lock")
	if errors.Is(err, ErrHeld) {
		return nil, fmt.Errorf("%w: CELL_KEY (peer %s) is in use: give each process a CELL_KEY of its own, or unset it",
			ErrHeld, id)
	}
	if err != nil {
		return nil, err
	}
	return newKey("CELL_KEY", priv, base+".inc", lock)
}

func newKey(name string, priv crypto.PrivKey, incarnations string, lock *lock) (*Key, error) {
	id, err := peer.IDFromPrivateKey(priv)
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("home: key %s: %w", name, err)
	}
	return &Key{Priv: priv, Peer: id, Name: name, incarnations: incarnations, lock: lock}, nil
}

// Close gives the identity back. It is idempotent.
func (k *Key) Close() error {
	k.lock.release()
	return nil
}

// loadOrCreate reads the identity at path, or makes one. The caller holds the identity's lock.
func loadOrCreate(path string) (crypto.PrivKey, error) {
	manifest.ClearUnfinished(path) // a key that was never used
	priv, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return priv, err
	}
	if priv, _, err = crypto.GenerateEd25519Key(nil); err != nil {
		return nil, fmt.Errorf("home: new key: %w", err)
	}
	if err := WriteKey(path, priv); !errors.Is(err, fs.ErrExist) {
		return priv, err
	}
	return ReadKey(path) // someone put one there by hand, in this moment
}
