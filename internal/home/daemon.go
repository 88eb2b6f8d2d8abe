package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// maxDaemonCommand bounds daemon.json, in bytes.
const maxDaemonCommand = 64 << 10

// DaemonCommand returns the command that starts the machine's node, program first; nil if none has been installed. It
// returns when the node answers.
func (d *Dir) DaemonCommand() ([]string, error) {
	file, err := os.Open(d.Path("daemon.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	var installed struct {
		Command []string `json:"command"`
	}
	if err := json.NewDecoder(io.LimitReader(file, maxDaemonCommand)).Decode(&installed); err != nil {
		return nil, fmt.Errorf("home: %s: %w: `cellnode daemon install` writes it anew", file.Name(), err)
	}
	if len(installed.Command) == 0 || !filepath.IsAbs(installed.Command[0]) {
		return nil, fmt.Errorf("home: %s names no program by its full path: `cellnode daemon install` writes it anew", file.Name())
	}
	return installed.Command, nil
}

// SetDaemonCommand writes what DaemonCommand returns; nil takes it away.
func (d *Dir) SetDaemonCommand(command []string) error {
	if command == nil {
		if err := os.Remove(d.Path("daemon.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("home: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(map[string][]string{"command": command})
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return write(d.Path("daemon.json"), append(data, '\n'))
}

// Inherited returns the one listening socket that systemd hands to a process that it has started for it (man
// sd_listen_fds), or nil if there is none.
func Inherited() (net.Listener, error) {
	count, pid := os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_PID")
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	for _, name := range []string{"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} { // not for our children
		os.Unsetenv(name)
	}
	if count != "1" {
		return nil, fmt.Errorf("home: LISTEN_FDS is %s: the unit's socket must be one, cellnode.sock", count)
	}
	const first = 3 // SD_LISTEN_FDS_START
	file := os.NewFile(first, "LISTEN_FDS")
	defer file.Close() // FileListener has a duplicate
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("home: the socket from systemd: %w", err)
	}
	if l.Addr().Network() != "unix" {
		l.Close()
		return nil, fmt.Errorf("home: the socket from systemd is %s: it must be a Unix socket", l.Addr().Network())
	}
	return l, nil
}

// Adopt is Listen with a listener that is there already, as from systemd, which keeps the socket's file. From then on
// closing the result closes it; on an error it stays the caller's.
func (d *Dir) Adopt(base string, inner net.Listener) (net.Listener, error) {
	if _, err := d.Sub("run"); err != nil {
		return nil, err
	}
	lock, err := tryLock(d.Path("run", strings.TrimSuffix(base, ".sock")+".lock"))
	if errors.Is(err, ErrHeld) {
		return nil, fmt.Errorf("%w: %s", ErrHeld, inner.Addr())
	}
	if err != nil {
		return nil, err
	}
	return &listener{Listener: inner, lock: lock}, nil
}

// Held reports whether a process listens on the socket named base by Listen or Adopt.
func (d *Dir) Held(base string) (bool, error) {
	return held(d.Path("run", strings.TrimSuffix(base, ".sock")+".lock"))
}
