package manifest

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
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
