package home

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// maxSocketPath is the longest socket path handed out, in bytes; systems take 103 (macOS) or 107 (Linux).
const maxSocketPath = 100

// SocketPath returns where the socket named base ("exchange.sock") lies: run/base, or where that is longer than 100
// bytes, base in a directory of this home's own (0700) below $XDG_RUNTIME_DIR or else the system's directory for
// temporary files. That directory is kept in run/sockets, so that processes with another environment find it too. A
// short path makes nothing on disk: whoever only looks for a socket leaves no trace.
func (d *Dir) SocketPath(base string) (string, error) {
	if strings.ContainsAny(base, "/\\\x00") || base == "" || base == "." || base == ".." {
		return "", fmt.Errorf("home: %q cannot name a socket", base)
	}
	run := d.Path("run")
	if err := checkDir(run); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	path := filepath.Join(run, base)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	if _, err := d.Sub("run"); err != nil {
		return "", err
	}
	short, err := d.shortDir()
	if err != nil {
		return "", err
	}
	if path = filepath.Join(short, base); len(path) > maxSocketPath {
		path = filepath.Join(short, hash12(base)+".sock")
	}
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("home: %s is longer than %d bytes: set CELL_HOME to a shorter path", path, maxSocketPath)
	}
	return path, nil
}

// shortDir returns the recorded directory for sockets if it is still good, and else picks and records one.
func (d *Dir) shortDir() (string, error) {
	record := d.Path("run", "sockets")
	if text, err := os.ReadFile(record); err == nil {
		if dir := strings.TrimSuffix(string(text), "\n"); filepath.IsAbs(dir) && makeDir(dir) == nil {
			return dir, nil
		}
	}
	tag := hash12(d.root)
	var failed error
	for _, dir := range []string{
		filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "cell-"+tag),
		filepath.Join(os.TempDir(), fmt.Sprintf("cell-%d-%s", os.Geteuid(), tag)),
	} {
		if !filepath.IsAbs(dir) {
			continue // no XDG_RUNTIME_DIR
		}
		if err := makeDir(dir); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		return dir, write(record, []byte(dir+"\n"))
	}
	return "", failed
}

// RemoveSockets removes the directory of the sockets whose own paths are too long, if there is one. It is for whoever
// removes the home directory: that one lies outside.
func (d *Dir) RemoveSockets() error {
	text, err := os.ReadFile(d.Path("run", "sockets"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	dir := strings.TrimSuffix(string(text), "\n")
	if !filepath.IsAbs(dir) || !strings.HasSuffix(dir, hash12(d.root)) {
		return nil // not one that shortDir has made
	}
	switch err := checkDir(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

func hash12(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:6])
}

// Listen listens on the Unix socket named base (see SocketPath), 0600, for the one process that gets it: ErrHeld if
// another has it. What a dead process left there is cleared away. Closing the listener gives the name back.
func (d *Dir) Listen(base string) (net.Listener, error) {
	if _, err := d.Sub("run"); err != nil {
		return nil, err
	}
	path, err := d.SocketPath(base)
	if err != nil {
		return nil, err
	}
	lock, err := tryLock(d.Path("run", strings.TrimSuffix(base, ".sock")+".lock"))
	if errors.Is(err, ErrHeld) {
		return nil, fmt.Errorf("%w: %s", ErrHeld, path)
	}
	if err != nil {
		return nil, err
	}
	inner, err := listenUnix(path)
	if err != nil {
		lock.release()
		return nil, err
	}
	return &listener{Listener: inner, lock: lock}, nil
}

// listener holds its name's lock as long as it listens.
type listener struct {
	net.Listener
	lock *lock
}

func (l *listener) Close() error {
	err := l.Listener.Close() // unlinks the socket, while the name is still ours
	l.lock.release()
	return err
}

// listenUnix listens at path, which the caller's lock makes the caller's.
func listenUnix(path string) (net.Listener, error) {
	if err := clearSocket(path); err != nil {
		return nil, err
	}
	inner, err := net.Listen("unix", path)
	if err != nil {
		return nil, unwritable(err)
	}
	// The directory is closed to others, so no one slips in before this.
	if err := os.Chmod(path, 0o600); err != nil && hasModes {
		inner.Close()
		return nil, fmt.Errorf("home: %w", err)
	}
	return inner, nil
}

// clearSocket makes path free to listen on. A socket is removed only if nobody answers behind it: a service that has
// outlived its node still does.
func clearSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if hasModes && info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("home: %s stands where a socket belongs: move it away", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w: %s is still answered, by a process that runs without its node: stop that process", ErrHeld, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}
