package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
)

func settings(_ context.Context, m *machine) []Finding {
	if m.HomeErr != nil {
		return []Finding{finding(Error, oneLine(m.HomeErr), "put that right: nothing starts before; `cellnode config check` looks again")}
	}
	where := "no home directory"
	if m.Home != nil {
		where = m.Home.Path()
	}
	list := []Finding{finding(OK, fmt.Sprintf("%s is this user's own, and its settings are right", where), "")}
	for _, note := range m.Notes {
		list = append(list, finding(Warning, note, "`cellnode config show` lists the settings that there are"))
	}
	return list
}

func nodes(_ context.Context, m *machine) []Finding {
	var list []Finding
	if m.NodeErr != nil {
		list = append(list, finding(Error, oneLine(m.NodeErr), "a node that hangs is ended by its process ID: its run/NAME.json in the home directory names that"))
	}
	for _, s := range m.Nodes {
		list = append(list, finding(OK, fmt.Sprintf("node %s is up for %s, with %d peers in the DHT (%s)",
			s.Peer, time.Since(s.Started).Round(time.Second), s.DHT.Peers, s.DHT.State), ""))
		for _, note := range s.Notes {
			list = append(list, finding(Warning, note, "`cellnode status` shows what the node is bound to"))
		}
	}
	if len(list) == 0 {
		list = append(list, finding(Unknown, "no node runs here: what only a node can know is left open",
			"start one with `cellnode run` beside an instance, or `cellnode daemon start --foreground`, and look again"))
	}
	return list
}

func announced(_ context.Context, m *machine) []Finding {
	var list []Finding
	for _, s := range m.Nodes {
		for _, c := range s.Instances {
			list = append(list, announcedKey(c))
		}
	}
	if len(list) == 0 {
		return []Finding{finding(Unknown, "no instance runs here, so no key is announced", "")}
	}
	return list
}

func announcedKey(c daemon.CellStatus) Finding {
	const entry = "name an entry point that runs: bootstrap in config.toml, or CELL_BOOTSTRAP"
	key := fmt.Sprintf("%s (%s, %d members)", c.Cell, c.State, c.Members)
	a := c.Announced
	switch {
	case a == nil:
		return finding(Warning, key+" is not announced: the DHT is switched off", "write dht = true in config.toml, or publish seeds with `cellnode seeds push`")
	case a.Error != "":
		return finding(Error, key+" is not announced: "+a.Error, entry)
	case a.Alone:
		return finding(Warning, key+" is not announced: no other node is known yet", entry)
	case a.ByOthers:
		return finding(OK, key+" is announced by other members", "")
	case a.Last.IsZero():
		return finding(Unknown, key+" is being announced", "look again in a few seconds")
	case !a.ReadBack:
		return finding(Warning, fmt.Sprintf("%s is announced to %d nodes, and could not be read back", key, a.Replicas), "look again after the next round, in "+time.Until(a.Next).Round(time.Second).String())
	}
	return finding(OK, fmt.Sprintf("%s is announced to %d nodes and read back", key, a.Replicas), "")
}

// oneLine puts an error on one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
