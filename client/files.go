package client

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/internal/source"
)

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("client: %s is larger than %d bytes", path, limit)
	}
	return data, nil
}

// openHome opens the home directory if it can be had. A client needs none: without it there is no cache, no local
// service and no daemon.
func openHome(path string) (*home.Dir, error) {
	if path != "" {
		return home.At(path)
	}
	if _, err := os.UserHomeDir(); err != nil && os.Getenv("CELL_HOME") == "" {
		return nil, nil
	}
	d, err := home.Open()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil, nil
	}
	return d, err
}

func newSource(h *home.Dir, log *slog.Logger) (*source.Source, error) {
	cache := ""
	if h != nil {
		cache = h.Path("cache", "git")
	}
	return source.New(source.Config{CacheDir: cache, Log: log})
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
