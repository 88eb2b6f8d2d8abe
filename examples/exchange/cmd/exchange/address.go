package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// splitAddress takes unix:/path, tcp:host:port, or an absolute path by itself.
func splitAddress(address string) (network, addr string, err error) {
	switch {
	case address == "":
		return "", "", errors.New("exchange: no address: give -listen unix:/path or tcp:host:port, or set CELL_SOCKET")
	case filepath.IsAbs(address):
		return "unix", address, nil
	case strings.HasPrefix(address, "unix:") && len(address) > len("unix:"):
		return "unix", strings.TrimPrefix(address, "unix:"), nil
	case strings.HasPrefix(address, "tcp:"):
		addr := strings.TrimPrefix(address, "tcp:")
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return "", "", fmt.Errorf("exchange: address %q: want tcp:host:port", address)
		}
		return "tcp", addr, nil
	}
	return "", "", fmt.Errorf("exchange: address %q: want unix:/path or tcp:host:port", address)
}

// removeStale deletes the socket that a killed instance left behind. It refuses to touch a
// socket that still answers, and anything that is not a socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("exchange: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("exchange: %s exists and is not a socket: choose another path", path)
	}
	if conn, err := net.Dial("unix", path); err == nil {
		conn.Close()
		return fmt.Errorf("exchange: %s is in use by another instance: choose another path", path)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("exchange: %w", err)
	}
	return nil
}
