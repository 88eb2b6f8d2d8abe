//go:build amd64 || arm64

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/home"
)

// unfinished is the name of a file that was never given its own.
var unfinished = regexp.MustCompile(`^\..*\.tmp-[0-9]+$`)

// look checks that every file in the home is whole and closed to others, and that identity and incarnation are what they
// were, or later.
func (v *victim) look(t *testing.T, what string) {
	t.Helper()
	for _, path := range v.files(t) {
		if fault := v.fault(path); fault != nil {
			t.Errorf("after %s: %s: %v", what, path, fault)
		}
	}
}

// files are those in the home, but for what git itself keeps: the next read tells whether that is well.
func (v *victim) files(t *testing.T) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(v.home, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist): // it died before it had a home
			return nil
		case err != nil:
			return err
		case path == filepath.Join(v.home, "cache", "git", "git"):
			return fs.SkipDir
		}
		list = append(list, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// fault is what is wrong with a file, or nil.
func (v *victim) fault(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("mode %v", mode)
	}
	name := info.Name()
	switch ext := filepath.Ext(name); {
	case info.IsDir(), unfinished.MatchString(name), name == ".writable" && info.Size() == 0:
		return nil
	case info.Mode().Type() == fs.ModeSocket && ext == ".sock", ext == ".lock" && info.Size() == 0:
		return nil
	case ext == ".json":
		data, err := os.ReadFile(path)
		if err == nil && !json.Valid(data) {
			err = fmt.Errorf("%q", data)
		}
		return err
	case name == "echo":
		return v.sameKey(path)
	case name == "echo.inc":
		return v.laterLife(path)
	}
	return errors.New("what is this?")
}

func (v *victim) sameKey(path string) error {
	key, err := home.ReadKey(path)
	if err != nil {
		return err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err == nil && v.peer != "" && id.String() != v.peer {
		err = fmt.Errorf("the key of %s, it was that of %s", id, v.peer)
	}
	v.peer = id.String()
	return err
}

func (v *victim) laterLife(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(string(text), "\n"), 10, 64)
	if err == nil && n < v.last {
		err = fmt.Errorf("incarnation %d after %d", n, v.last)
	}
	v.last = n
	return err
}

// checkCleared lets everything become old, and sees that the next life clears away what earlier ones have left.
func (v *victim) checkCleared(t *testing.T) {
	t.Helper()
	left, old := 0, time.Now().Add(-time.Hour)
	for _, path := range v.files(t) {
		if unfinished.MatchString(filepath.Base(path)) {
			left++
			if err := os.Chtimes(path, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What was read from a repository is read again.
	if err := os.RemoveAll(filepath.Join(v.home, "cache", "git", "seeds")); err != nil {
		t.Fatal(err)
	}
	v.check(t, fmt.Sprintf("an hour with %d unfinished files", left))
	for _, path := range v.files(t) {
		if unfinished.MatchString(filepath.Base(path)) {
			t.Errorf("%s is left for good", path)
		}
	}
}
