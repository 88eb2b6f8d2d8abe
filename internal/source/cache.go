package source

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// maxEntry bounds a file of the cache, in bytes: the largest interface and the largest seed list, in base64.
const maxEntry = 32 << 20

// commitEntry is what was read at one commit. It never changes, so it is kept for good.
type commitEntry struct {
	Commit string            `json:"commit"`
	Files  map[string][]byte `json:"files"`
	Sum    string            `json:"sum"` // over both, so that a damaged entry is read again instead of believed
}

// tagEntry is the commit that a tag was at when its host was last asked.
type tagEntry struct {
	Cell   string    `json:"cell"`
	Commit string    `json:"commit"`
	At     time.Time `json:"at"`
}

// seedEntry is the seed list that was read last.
type seedEntry struct {
	Cell string    `json:"cell"`
	At   time.Time `json:"at"`
	From string    `json:"from"` // object of the ref or commit it was read from; "" for a host that speaks cell+json
	List []byte    `json:"list"` // as SeedList.Marshal writes it
}

func (e commitEntry) sum() string {
	h := sha256.New()
	part := func(b []byte) {
		_ = binary.Write(h, binary.BigEndian, uint64(len(b))) // a hash takes everything
		h.Write(b)
	}
	part([]byte(e.Commit))
	for _, path := range slices.Sorted(maps.Keys(e.Files)) {
		part([]byte(path))
		part(e.Files[path])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s *Source) commitPath(cell manifest.Cell, commit string) string {
	return filepath.Join(s.cfg.CacheDir, "manifests", repositoryID(cell.Repository), commit+".json")
}

func (s *Source) tagPath(cell manifest.Cell) string {
	return filepath.Join(s.cfg.CacheDir, "tags", cell.ID().String()+".json")
}

func (s *Source) seedPath(cell manifest.Cell) string {
	return filepath.Join(s.cfg.CacheDir, "seeds", cell.ID().String()+".json")
}

// recallCommit is the cached entry of a commit, if it is whole.
func (s *Source) recallCommit(cell manifest.Cell, commit string) (commitEntry, bool) {
	var e commitEntry
	path := s.commitPath(cell, commit)
	if !s.recall(path, &e) || e.Commit != commit || e.Sum != e.sum() {
		return commitEntry{}, false
	}
	manifest.ClearAbandoned(path) // nobody will write it again
	return e, true
}

func (s *Source) recallTag(cell manifest.Cell) (tagEntry, bool) {
	var e tagEntry
	ok := s.recall(s.tagPath(cell), &e)
	return e, ok && e.Cell == cell.String() && isObject(e.Commit)
}

func (s *Source) recallSeeds(cell manifest.Cell) (seedEntry, *manifest.SeedList, bool) {
	var e seedEntry
	if !s.recall(s.seedPath(cell), &e) || e.Cell != cell.String() {
		return seedEntry{}, nil, false
	}
	list, err := manifest.ParseSeedList("instances.json", e.List)
	return e, list, err == nil
}

// recall reads a file of the cache. What is missing or damaged was never there.
func (s *Source) recall(path string, into any) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() > maxEntry {
		return false
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Warn("ignoring a damaged cache file", "path", path, "err", err)
	}
	return err == nil
}

// remember writes a file of the cache. A cache that cannot be written costs time, not the answer.
func (s *Source) remember(path string, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = manifest.WriteFile(path, data, 0o600)
	}
	if err != nil {
		s.cfg.Log.Warn("the cache cannot be written", "path", path, "err", fmt.Sprint(err))
	}
}
