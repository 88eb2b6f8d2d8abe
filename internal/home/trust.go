package home

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxTrustFile bounds a file below trust/, in bytes.
const maxTrustFile = 32 << 10

// A Trust is what must outlive the process, so that none is ever taken that is older: record.Authority.
type Trust interface {
	ID() string      // of what it begins with
	Version() uint64 // 0: there is nothing to keep
	Chain() []byte   // the document of that version
	Take(document []byte, now time.Time) (newer bool, err error)
	OnChange(f func()) (stop func())
}

// KeepTrust gives t the newest document that any process of this home has seen, and keeps each newer one that it takes from
// now on, until stop, which waits for the last. What lies there and is refused is moved aside to NAME.bad and said once to
// log. A home that cannot be written keeps nothing, which is said once too.
func (d *Dir) KeepTrust(t Trust, log *slog.Logger) (stop func()) {
	k := &trustKeeper{dir: d, trust: t, log: log, kept: d.readTrust(t, log)}
	changed, done := make(chan struct{}, 1), make(chan struct{})
	forget := t.OnChange(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			k.keep()
			select {
			case <-changed:
			case <-done:
				k.keep()
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		forget()
		close(done)
		wg.Wait()
	})
}

// trustKeeper writes the documents of one Trust. Each version is a file of its own, so that of several processes none can
// put an older one in a newer one's place.
type trustKeeper struct {
	dir   *Dir
	trust Trust
	log   *slog.Logger
	kept  uint64 // the version on disk
	said  bool   // that it cannot be written
}

func (k *trustKeeper) keep() {
	version := k.trust.Version()
	if version <= k.kept {
		return
	}
	err := k.write(version)
	if err == nil {
		k.kept = version
		return
	}
	if !k.said {
		k.said = true
		k.log.Warn("the trust document cannot be kept: after a restart an older one might be taken", "err", err)
	}
}

func (k *trustKeeper) write(version uint64) error {
	dir, err := k.dir.Sub("trust")
	if err != nil {
		return err
	}
	if err := write(trustPath(dir, k.trust.ID(), version), k.trust.Chain()); err != nil {
		return err
	}
	for _, old := range trustFiles(dir, k.trust.ID()) {
		if old.version < version {
			if err := os.Remove(old.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("home: %w", err)
			}
		}
	}
	return nil
}

func trustPath(dir, id string, version uint64) string {
	return filepath.Join(dir, id+"-"+strconv.FormatUint(version, 10))
}

type trustFile struct {
	path    string
	version uint64
}

// trustFiles lists the documents of one Trust, the newest first.
func trustFiles(dir, id string) []trustFile {
	paths, err := filepath.Glob(filepath.Join(dir, id+"-*"))
	if err != nil {
		return nil // id is hexadecimal
	}
	var files []trustFile
	for _, path := range paths {
		version, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(path), id+"-"), 10, 64)
		if err == nil {
			files = append(files, trustFile{path, version})
		}
	}
	slices.SortFunc(files, func(a, b trustFile) int { return cmp.Compare(b.version, a.version) })
	return files
}

// readTrust gives t what lies there and returns the version that it then has from disk.
func (d *Dir) readTrust(t Trust, log *slog.Logger) uint64 {
	for _, file := range trustFiles(d.Path("trust"), t.ID()) {
		document, err := readTrustFile(file.path)
		if err == nil {
			_, err = t.Take(document, time.Now())
		}
		if err == nil {
			return t.Version()
		}
		if t.Version() > file.version {
			continue // this process knows a newer one
		}
		aside := file.path + ".bad"
		if moved := os.Rename(file.path, aside); moved != nil {
			err = fmt.Errorf("%w: and it cannot be moved aside: %w", err, moved)
		}
		log.Warn("a damaged trust document was moved aside; the next one that is seen counts", "path", aside, "err", err)
	}
	return 0
}

func readTrustFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	if info.Size() > maxTrustFile {
		return nil, fmt.Errorf("home: %s has %d bytes: a trust document has %d at most", path, info.Size(), maxTrustFile)
	}
	return os.ReadFile(path)
}
