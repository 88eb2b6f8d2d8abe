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

	"github.com/cellnode/cellnode/internal/record"
)

const (
	// maxTrustFile bounds a file below trust/, in bytes.
	maxTrustFile = 32 << 10
	// rereadTrust is how often a document that cannot be read is tried again.
	rereadTrust = time.Minute
)

// A Trust is what must outlive the process, so that none is ever taken that is older: record.Authority.
type Trust interface {
	ID() string      // of what it begins with
	Version() uint64 // 0: there is nothing to keep
	Chain() []byte   // the document of that version
	Take(document []byte, now time.Time) (newer bool, err error)
	OnChange(f func()) (stop func())
}

// KeepTrust gives t the newest document that any process of this home has seen, and keeps each newer one that it takes from
// now on, until stop, which waits for the last. What lies there and is damaged is moved aside to NAME.bad and said once to
// log. What cannot be read now is left alone and tried again; t goes on without it, which is said once. A home that cannot
// be written keeps nothing, which is said once too.
func (d *Dir) KeepTrust(t Trust, log *slog.Logger) (stop func()) {
	k := &trustKeeper{dir: d, trust: t, log: log, unread: true}
	k.read()
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
			case <-k.again():
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

	unread                    bool // what was there before is not in use yet
	saidUnread, saidUnwritten bool
}

// read gives the trust what lies there, once it can be read.
func (k *trustKeeper) read() {
	if !k.unread {
		return
	}
	var err error
	k.kept, err = k.dir.readTrust(k.trust, k.log)
	k.unread = err != nil
	if k.unread && !k.saidUnread {
		k.saidUnread = true
		k.log.Error("the trust document that was kept is not in use yet: an older one might be taken", "err", err)
	}
}

// again is when to read again: never, once it was done.
func (k *trustKeeper) again() <-chan time.Time {
	if !k.unread {
		return nil
	}
	return time.After(rereadTrust)
}

func (k *trustKeeper) keep() {
	k.read()
	version := k.trust.Version()
	if version <= k.kept {
		return
	}
	err := k.write(version)
	if err == nil {
		k.kept = version
		return
	}
	if !k.saidUnwritten {
		k.saidUnwritten = true
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
	files, err := trustFiles(dir, k.trust.ID())
	if err != nil {
		return err
	}
	for _, old := range files {
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
func trustFiles(dir, id string) ([]trustFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("home: %w", err)
	}
	var files []trustFile
	for _, entry := range entries {
		number, ours := strings.CutPrefix(entry.Name(), id+"-")
		version, err := strconv.ParseUint(number, 10, 64)
		if ours && err == nil {
			files = append(files, trustFile{filepath.Join(dir, entry.Name()), version})
		}
	}
	slices.SortFunc(files, func(a, b trustFile) int { return cmp.Compare(b.version, a.version) })
	return files, nil
}

// readTrust gives t what lies there and returns the newest version on disk, 0 where t knows a newer one. With an error that
// version is there and is not known to be damaged, but cannot be read now.
func (d *Dir) readTrust(t Trust, log *slog.Logger) (version uint64, err error) {
	version, err = d.readNewestTrust(t, log)
	if errors.Is(err, fs.ErrNotExist) { // another process has put a newer one in its place
		version, err = d.readNewestTrust(t, log)
	}
	return version, err
}

func (d *Dir) readNewestTrust(t Trust, log *slog.Logger) (version uint64, err error) {
	files, err := trustFiles(d.Path("trust"), t.ID())
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		document, err := readTrustFile(file.path)
		if err == nil {
			_, err = t.Take(document, time.Now())
		}
		switch {
		case err == nil:
			return file.version, nil
		case t.Version() > file.version:
			return 0, nil // this process knows a newer one than this and all that follow
		case !damagedTrust(err):
			return file.version, fmt.Errorf("home: %s cannot be read now: %w", file.path, err)
		}
		aside := file.path + ".bad"
		if moved := os.Rename(file.path, aside); moved != nil {
			err = fmt.Errorf("%w: and it cannot be moved aside: %w", err, moved)
		}
		log.Warn("a damaged trust document was moved aside; the next one that is seen counts", "path", aside, "err", err)
	}
	return 0, nil
}

// damagedTrust tells what is wrong with a document from what may be well the next time: the clock, a document that was taken
// meanwhile, a limit of the system.
func damagedTrust(err error) bool {
	var refusal *record.Refusal
	return errors.As(err, &refusal) && refusal.Code != record.CodeFuture && refusal.Code != record.CodeReplay
}

func readTrustFile(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	if n := info.Size(); n > maxTrustFile {
		detail := fmt.Sprintf("a trust document of %d bytes, at most %d", n, maxTrustFile)
		return nil, &record.Refusal{Code: record.CodeSize, Detail: detail}
	}
	return os.ReadFile(path)
}
