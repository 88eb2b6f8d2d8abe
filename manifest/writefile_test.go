package manifest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestWriteFileReplacesContentAndMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Cell.lock")
	if err := os.WriteFile(path, []byte("a much longer old content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err != nil || statErr != nil || string(got) != "new" || info.Mode() != 0o600 {
		t.Errorf("%q, %v, %v, %v", got, info.Mode(), err, statErr)
	}
	checkAlone(t, path)
}

// Whatever goes wrong, the old file is whole and nothing lies beside it.
func TestWriteFileLeavesNothingBehindOnError(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "folder")
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(folder, []byte("x"), 0o644); err == nil { // a rename over a folder fails after the temporary file is complete
		t.Error("a folder was replaced")
	}
	checkAlone(t, folder)
	if err := WriteFile(filepath.Join(dir, "absent", "file"), nil, 0o644); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent folder: %v", err)
	}
	checkAlone(t, folder)
}

// Readers see the old content or the new, never a mixture, and never a missing file.
func TestWriteFileIsAtomicForReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	contents := [][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<15)}
	if err := WriteFile(path, contents[0], 0o644); err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	done := make(chan struct{})
	for _, c := range contents {
		writers.Go(func() {
			for range 20 {
				if err := WriteFile(path, c, 0o644); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for {
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		select {
		case <-done:
			checkAlone(t, path)
			return
		default:
		}
	}
}

func checkAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("beside %s lies %v, %v", path, entries, err)
	}
}

func TestCreateFileNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := CreateFile(path, []byte("first"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkAlone(t, path)
	if err := CreateFile(path, []byte("second"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second: %v, want fs.ErrExist", err)
	}
	checkAlone(t, path)
	if got, err := os.ReadFile(path); err != nil || string(got) != "first" {
		t.Errorf("%q, %v", got, err)
	}
}

// One of many makes the file, and it is one of theirs.
func TestCreateFileHasOneWinner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	errs := make([]error, 8)
	var writers sync.WaitGroup
	for i := range errs {
		writers.Go(func() { errs[i] = CreateFile(path, []byte{byte(i)}, 0o600) })
	}
	writers.Wait()
	winner := slices.Index(errs, nil)
	got, err := os.ReadFile(path)
	if err != nil || winner < 0 || !bytes.Equal(got, []byte{byte(winner)}) || slices.ContainsFunc(errs[winner+1:], func(e error) bool { return e == nil }) {
		t.Errorf("%v, %v: %v", got, err, errs)
	}
	checkAlone(t, path)
}

// What a killed process has left goes with the next write to the same path, or when its reader asks for that; what is
// younger, or another's, stays.
func TestAbandonedTemporaryFilesAreCleared(t *testing.T) {
	for name, clears := range map[string]func(path string) error{
		"write": func(path string) error { return WriteFile(path, nil, 0o600) },
		"read":  func(path string) error { ClearAbandoned(path); return nil },
	} {
		t.Run(name, func(t *testing.T) { testClearing(t, clears) })
	}
}

func testClearing(t *testing.T, clears func(path string) error) {
	dir := t.TempDir()
	old, now := time.Now().Add(-abandoned-time.Minute), time.Now()
	files := map[string]time.Time{
		".file.tmp-123":   old, // goes
		".file.tmp-456":   now,
		".file.tmp-12x":   old,
		".other.tmp-123":  old,
		"file.tmp-123":    old,
		".file.json.tmp-": old,
	}
	for name, at := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := clears(filepath.Join(dir, "file")); err != nil {
		t.Fatal(err)
	}
	for name := range files {
		_, err := os.Lstat(filepath.Join(dir, name))
		if gone := errors.Is(err, fs.ErrNotExist); gone != (name == ".file.tmp-123") {
			t.Errorf("%s: gone is %v", name, gone)
		}
	}
	ClearUnfinished(filepath.Join(dir, "file"))
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) != len(files)-3 {
		t.Errorf("with nobody writing, %v is left, %v", left, err)
	}
}
