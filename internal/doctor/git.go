package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/source"
)

// gitWait is how long one repository is waited for.
const gitWait = 8 * time.Second

// cellFiles is what the nearest Cell.toml and Cell.lock name.
type cellFiles struct {
	resolved []*client.Resolved
	err      error // client.ErrNoCellFile where there is none
}

func readCells(dir string) (c cellFiles) {
	c.resolved, c.err = client.Named(dir)
	return c
}

// git says whether the git command is there and whether each repository that Cell.toml names answers.
func git(ctx context.Context, m *machine) []Finding {
	path, err := exec.LookPath("git")
	if err != nil {
		return []Finding{finding(Error, "there is no git command on the PATH: repositories cannot be read", "install it: sudo apt install git (or your system's way)")}
	}
	ctx, cancel := context.WithTimeout(ctx, gitWait)
	defer cancel()
	version, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return []Finding{finding(Error, fmt.Sprintf("%s --version: %v", path, err), "install git again")}
	}
	list := []Finding{finding(OK, strings.TrimSpace(string(version))+" ("+path+")", "")}
	cells := m.cells()
	switch {
	case errors.Is(cells.err, client.ErrNoCellFile):
		return append(list, finding(Unknown, "no Cell.toml here or above, so no repository was asked", ""))
	case cells.err != nil:
		return append(list, finding(Error, oneLine(cells.err), "correct that file"))
	}
	return append(list, askRepositories(ctx, m, cells.resolved)...)
}

func askRepositories(ctx context.Context, m *machine, cells []*client.Resolved) []Finding {
	dir, err := os.MkdirTemp("", "cell-doctor-") // the cache would answer in the host's place
	if err != nil {
		return []Finding{finding(Error, oneLine(err), "make room in the directory for temporary files, or set TMPDIR")}
	}
	defer os.RemoveAll(dir)
	src, err := source.New(source.Config{CacheDir: dir, Log: m.Log})
	if err != nil {
		return []Finding{finding(Error, oneLine(err), "")}
	}
	list := make([]Finding, len(cells))
	var wg sync.WaitGroup
	for n, c := range cells {
		wg.Go(func() { list[n] = askRepository(ctx, src, c) })
	}
	wg.Wait()
	return list
}

func askRepository(ctx context.Context, src *source.Source, c *client.Resolved) Finding {
	begun := time.Now()
	commit, err := src.Resolve(ctx, c.Git, c.Cell.Tag)
	var none *source.NoTagError
	switch {
	case errors.As(err, &none):
		return finding(Error, fmt.Sprintf("cell %s: %s", c.Name, oneLine(err)), "correct tag under [cell."+c.Name+"] in Cell.toml")
	case err != nil:
		return finding(Error, fmt.Sprintf("cell %s: %s", c.Name, oneLine(err)),
			"try `git ls-remote "+c.Git+"`; while the host is down, seeds of Cell.lock, the cache and the DHT stand in for it")
	case c.Locked != nil && source.CheckCommit(c.Cell, c.Locked.Commit, commit) != nil:
		return finding(Error, fmt.Sprintf("cell %s: tag %s is at %s, and Cell.lock has %s", c.Name, c.Cell.Tag, commit, c.Locked.Commit),
			"if that is meant, accept it with `cellnode build --update`")
	}
	return finding(OK, fmt.Sprintf("cell %s: %s answers in %s, %s is at %.10s", c.Name, c.Git, time.Since(begun).Round(time.Millisecond), c.Cell.Tag, commit), "")
}
