package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
)

// A Spawner builds cells and runs them on this machine. Its methods are called by many goroutines.
type Spawner interface {
	// Spawn returns when an instance of the cell is ready: one that runs already, or one that is started now, once for
	// all who ask at the same time. It calls progress with the name of each step that begins, and not after it has
	// returned.
	Spawn(ctx context.Context, q SpawnQuery, progress func(step string)) (Spawned, error)
	// Stop ends the instance with this peer ID, and returns when nothing of it is left.
	Stop(ctx context.Context, peer string) error
}

// A SpawnQuery asks for an instance of a cell on this machine.
type SpawnQuery struct {
	Repository  string `json:"repository"` // where to fetch it from
	Tag         string `json:"tag"`
	Commit      string `json:"commit,omitempty"`     // hex
	Path        string `json:"path,omitempty"`       // a working tree in place of the commit, absolute; it is built again when its files change
	NoSandbox   bool   `json:"no_sandbox,omitempty"` // the consumer's policy says sandbox = "none"
	Binary      string `json:"binary,omitempty"`     // the consumer's policy: verify, rebuild, source-only; empty: verify
	Share       bool   `json:"share,omitempty"`      // the consumer's policy says share = true
	ReadyMillis int64  `json:"ready_ms,omitempty"`   // from its start to being ready; 0: five seconds
}

// Spawned is an instance that runs on this machine.
type Spawned struct {
	Name        string  `json:"name"` // in its own Cell.toml
	Cell        string  `json:"cell"`
	Commit      string  `json:"commit"`
	Fingerprint string  `json:"fingerprint"`
	Peer        string  `json:"peer"`
	Socket      string  `json:"socket"`           // unix:PATH or tcp:HOST:PORT
	SHA256      string  `json:"sha256,omitempty"` // of its binary; empty: it was not started by spawn
	Sandbox     string  `json:"sandbox,omitempty"`
	Ran         bool    `json:"ran"`      // it ran already
	Hit         bool    `json:"hit"`      // the binary was there
	Signed      bool    `json:"signed"`   // the binary is of its publishers' making
	BuildMillis float64 `json:"build_ms"` // a look into the cache, or the build
	StartMillis float64 `json:"start_ms"` // from the start to being ready
	Steps       []Step  `json:"steps,omitempty"`
}

// Step is a part of a build and start: fetch, modules, library, compile, start.
type Step struct {
	Name   string  `json:"step"`
	Millis float64 `json:"ms"`
}

// spawnEvent is a line of the answer to a SpawnQuery; the last one has Spawned or Error.
type spawnEvent struct {
	Step    string   `json:"step,omitempty"`
	Spawned *Spawned `json:"spawned,omitempty"`
	Error   *Error   `json:"error,omitempty"`
}

// stopQuery asks for the end of an instance.
type stopQuery struct {
	Peer string `json:"peer"`
}

var errNoSpawner = &Error{Message: "daemon: this node starts no cells: the machine's node does (`cellnode daemon start`)", Code: codeUsage}

func serveSpawn(s Spawner, w http.ResponseWriter, r *http.Request) {
	var q SpawnQuery
	if !readBody(w, r, &q) {
		return
	}
	if s == nil {
		writeError(w, errNoSpawner)
		return
	}
	if q.Path != "" && !filepath.IsAbs(q.Path) {
		writeError(w, &Error{Message: fmt.Sprintf("daemon: path %q is not absolute, and this node's directory is not yours", q.Path), Code: codeUsage})
		return
	}
	out := lines{w: w}
	spawned, err := s.Spawn(r.Context(), q, func(step string) { _ = out.write(spawnEvent{Step: step}) }) // the end says whether the asker has gone
	last := spawnEvent{Spawned: &spawned}
	if err != nil {
		last = spawnEvent{Error: asError(err)}
	}
	_ = out.write(last) // nobody is left to tell
}

func serveStop(s Spawner, w http.ResponseWriter, r *http.Request) {
	var q stopQuery
	if !readBody(w, r, &q) {
		return
	}
	if s == nil {
		writeError(w, errNoSpawner)
		return
	}
	if err := s.Stop(r.Context(), q.Peer); err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, struct{}{})
}

// Spawn asks the node for an instance on this machine, and calls progress (which may be nil) with each step of a build.
func (c *Client) Spawn(ctx context.Context, q SpawnQuery, progress func(step string)) (Spawned, error) {
	var last spawnEvent
	err := stream(ctx, c, http.MethodPost, "/v1/spawn", q, func(e spawnEvent) error {
		if last = e; e.Step != "" && progress != nil {
			progress(e.Step)
		}
		return nil
	})
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return Spawned{}, refused
	case err != nil:
		return Spawned{}, err
	case last.Error != nil:
		return Spawned{}, last.Error
	case last.Spawned == nil:
		return Spawned{}, fmt.Errorf("daemon: the node at %s ended: %w", c.socket, io.ErrUnexpectedEOF)
	}
	return *last.Spawned, nil
}

// Stop asks the node to end an instance that it runs, and returns when nothing of it is left.
func (c *Client) Stop(ctx context.Context, peer string) error {
	return c.call(ctx, http.MethodPost, "/v1/stop", stopQuery{peer}, &struct{}{})
}
