package spawn

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// ForbiddenPathError says that a cell asks by its [sandbox] for what no cell gets.
type ForbiddenPathError struct {
	Path string // as written
	Why  string
}

// Error is one line.
func (e *ForbiddenPathError) Error() string {
	return fmt.Sprintf("spawn: its [sandbox] asks for %s, which no cell gets: %s", e.Path, e.Why)
}

// system are the places where a path leads out of a sandbox: the sockets of other services, the kernel's own files.
var system = []string{"/run", "/var/run", "/proc", "/sys", "/dev", "/boot"}

// checkPaths refuses paths that hold, or lie in, a home directory or cellHome, and those of the system: the cell itself
// says what it wants to see, so its word alone must not open these.
func checkPaths(s manifest.Sandbox, cellHome string) error {
	homes := []string{cellHome, "/root", "/home"}
	if dir, err := os.UserHomeDir(); err == nil {
		homes = append(homes, dir)
	}
	if me, err := user.Current(); err == nil && me.HomeDir != "" {
		homes = append(homes, me.HomeDir)
	}
	for _, path := range append(append([]string{}, s.Read...), s.Write...) {
		for _, h := range homes {
			if h != "/" && overlap(path, h) {
				return &ForbiddenPathError{path, "it is, holds or lies in a home directory"}
			}
		}
		for _, dir := range system {
			if overlap(path, dir) {
				return &ForbiddenPathError{path, "it is, holds or lies in " + dir}
			}
		}
	}
	return nil
}

// overlap says whether one of two places lies in the other, as written or as their links lead.
func overlap(a, b string) bool {
	for _, a := range ways(a) {
		for _, b := range ways(b) {
			if within(a, b) || within(b, a) {
				return true
			}
		}
	}
	return false
}

func ways(path string) []string {
	if to, err := filepath.EvalSymlinks(path); err == nil && to != path {
		return []string{path, to}
	}
	return []string{path}
}

func within(path, dir string) bool {
	below, err := filepath.Rel(dir, path)
	return err == nil && below != ".." && !strings.HasPrefix(below, "../")
}
