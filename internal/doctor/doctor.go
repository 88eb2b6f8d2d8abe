// Package doctor looks at this machine with the eyes of a node: settings, ports, the way out and in over UDP, clock,
// entry points, announced keys, git, sandbox layers. It changes nothing, and says of each fault what to do about it.
package doctor

import (
	"context"
	"log/slog"
	"sync"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
)

// A Level says how a finding is to be taken. Levels are stable.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Unknown Level = "unknown" // cannot be told from here; the text says what would tell
	Warning Level = "warning" // works, and not as well as it could
	Error   Level = "error"   // does not work
)

// A Finding is what one look at the machine has shown.
type Finding struct {
	Check  string `json:"check"` // the name of the check, stable
	Level  Level  `json:"level"`
	Text   string `json:"text"`             // one line
	Remedy string `json:"remedy,omitempty"` // what to do, one line; a command where there is one
}

// Config is what a look is taken at.
type Config struct {
	Dir     string          // where the search for Cell.toml begins; empty means the working directory
	Home    *home.Dir       // nil where there is none
	HomeErr error           // why not, or what is wrong with its settings
	Config  home.Config     // the settings; the zero value where HomeErr is set
	Notes   []string        // what is odd about the settings, one line each
	Nodes   []daemon.Status // of the nodes that run on this machine
	NodeErr error           // of those that run and do not answer
	Root    string          // where the files of the system are looked up, for tests; empty means /
	Log     *slog.Logger    // nil is silent
}

// checks are all the checks, in the order in which their findings are shown.
var checks = []struct {
	name string
	look func(ctx context.Context, m *machine) []Finding
}{
	{"settings", settings},
	{"node", nodes},
	{"ports", ports},
	{"firewall", firewall},
	{"udp", udp},
	{"entry", entries},
	{"nat", nat},
	{"clock", clock},
	{"announced", announced},
	{"git", git},
	{"sandbox", sandboxed},
	{"limits", limits},
}

// machine is what the checks share.
type machine struct {
	Config
	entry func() entryPoints // asked once
	cells func() cellFiles   // read once
}

// Look runs every check at once and returns the findings in a fixed order, when all are there. ctx bounds it; a check that is
// cut off says so.
func Look(ctx context.Context, cfg Config) []Finding {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &machine{Config: cfg}
	m.cells = sync.OnceValue(func() cellFiles { return readCells(cfg.Dir) })
	m.entry = sync.OnceValue(func() entryPoints { return askEntryPoints(ctx, m) })
	found := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for n, c := range checks {
		wg.Go(func() {
			found[n] = c.look(ctx, m)
			for i := range found[n] {
				found[n][i].Check = c.name
			}
		})
	}
	wg.Wait()
	var list []Finding
	for _, f := range found {
		list = append(list, f...)
	}
	return list
}

// Worst returns the worst level among the findings.
func Worst(list []Finding) Level {
	worst, rank := OK, map[Level]int{OK: 0, Unknown: 1, Warning: 2, Error: 3}
	for _, f := range list {
		if rank[f.Level] > rank[worst] {
			worst = f.Level
		}
	}
	return worst
}

func finding(level Level, text, remedy string) Finding {
	return Finding{Level: level, Text: text, Remedy: remedy}
}
