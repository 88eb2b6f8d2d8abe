package lint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Room is a package with one job, and the rooms it stands on: it may import those and all that stands under them. What
// lies in its folder belongs to it, unless a longer row names that folder.
type Room struct {
	Dir    string
	Stands []string
	Why    string
}

// Rooms is the import table. Tests may import what they need; the table is about what ships.
var Rooms = []Room{
	{"manifest", nil, "what a cell publishes is plain data: every program may read it, so it may bring nothing along"},
	{"internal/record", []string{"manifest"}, "the form of what crosses the network must not depend on how it crosses"},
	{"internal/source", []string{"internal/record"}, "reads repositories; whoever uses it decides what to do with what it read"},
	{"internal/stall", nil, "a timeout, for whoever waits for somebody else; it knows neither who nor why"},
	{"internal/health", []string{"manifest", "internal/stall"}, "asks a service how it is, by the settings of its Cell.toml; knows no network of nodes"},
	{"internal/reflection", []string{"manifest"}, "asks a service what it serves over connections that it is given; the build step and run hold it to the same"},
	{"internal/pipe", nil, "two connections joined into one, for whoever has two; it does not know where they lead"},
	{"internal/link", []string{"internal/record"}, "cell/1 is spoken by thin clients too, so neither libp2p's host nor the DHT may hang on it"},
	{"internal/find", []string{"internal/link", "internal/stall"}, "one tracker serves nodes and clients; where candidates come from is handed in"},
	{"internal/home", []string{"internal/record"}, "the only room that knows ~/.cell; everyone else is given directories"},
	{"internal/daemon", []string{"internal/find", "internal/pipe"}, "types, client and handler of the HTTP API, over small interfaces: it starts nothing"},
	{"dht", []string{"internal/record"}, "meets under a key on a host that it is given; it does not know who is alive"},
	{"gossip", []string{"internal/record"}, "knows who is alive on a host that it is given; it does not know how members were met"},
	{"overlay/punch", []string{"internal/link"}, "opens paths on a host that it is given; who wants one, and what runs on it, is not its affair"},
	{"overlay", []string{"dht", "gossip", "internal/daemon", "overlay/punch"}, "the only place where host, DHT and gossip come together"},
	{"overlay/settings", []string{"overlay", "internal/source", "internal/home"}, "a node as its settings say, for whoever runs one; overlay itself is handed values and reads no file"},
	{"overlay/sidecar", []string{
		"overlay/settings", "internal/health", "internal/pipe", "internal/reflection",
	}, "a service beside a node; a node embedded in a service needs none of it"},
	{"overlay/embed", []string{"overlay/settings", "client"}, "the only place where client and overlay meet: importing it is the choice to carry a node"},
	{"spawn/sandbox", nil, "shuts programs in; it does not know what a cell is, and its init must start in milliseconds"},
	{"spawn", []string{"spawn/sandbox", "internal/source", "internal/link", "internal/health", "internal/home"}, "builds and runs instances; it neither finds nor announces them"},
	{"internal/choice", nil, "which instance a call goes to, by numbers alone: it knows neither networks nor protocols"},
	{"client", []string{"internal/choice", "internal/source", "internal/daemon", "internal/home", "internal/pipe"}, "from a name to a connection without a host, a swarm or a DHT (see Weights)"},
	{"codegen", []string{"manifest"}, "interface in, code out: data only, nothing is fetched or run"},
	{"internal/build", []string{"client", "codegen", "internal/reflection"}, "the build step decides with the same code as a client at run time"},
	{"internal/doctor", []string{"client", "spawn/sandbox"}, "looks at the machine as a node would, without being one: it may ask, and starts nothing that stays"},
	{"hub", []string{"internal/source", "spawn"}, "git hosting; liveness comes in through an interface, since nothing may need a hub"},
	{"testnet", []string{"internal/daemon", "internal/home"}, "steers real processes from outside, as a user does"},
	{"simulations", []string{"overlay", "client"}, "the real node and the pure machines, in virtual time"},
	{"internal/lint", nil, "looks at the tree from outside"},
	{"examples", []string{"cmd/cellnode"}, "what users of the module write; the demo plays on everything"},
	{"cmd/cellnode", []string{
		"overlay/sidecar", "overlay/embed", "spawn", "internal/build", "internal/doctor", "hub", "testnet", "simulations",
	}, "flags, signals, exit codes: it puts the rooms together and nothing imports it"},
}

// Imports enforces Rooms.
func Imports(t *Tree) []Finding { return imports(t, Rooms) }

func imports(t *Tree, rooms []Room) []Finding {
	var found []Finding
	for _, f := range t.Go(func(f *File) bool { return f.Main && !f.Test }) {
		room, ok := roomOf(rooms, f.Dir())
		if !ok {
			found = append(found, Finding{"imports", f.Path, 0, "this folder has no row in lint.Rooms: give it one, with its why"})
			continue
		}
		allowed := under(rooms, room.Dir)
		for _, spec := range f.AST.Imports {
			dir, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), Module+"/")
			if !ours {
				continue
			}
			if to, ok := roomOf(rooms, dir); !ok || !allowed[to.Dir] {
				found = append(found, Finding{"imports", f.Path, t.line(spec), fmt.Sprintf("%s may not import %s. Its why: %s", room.Dir, dir, room.Why)})
			}
		}
	}
	return found
}

// roomOf finds the row with the longest folder that holds dir.
func roomOf(rooms []Room, dir string) (Room, bool) {
	holds := slices.DeleteFunc(slices.Clone(rooms), func(r Room) bool {
		return dir != r.Dir && !strings.HasPrefix(dir, r.Dir+"/")
	})
	if len(holds) == 0 {
		return Room{}, false
	}
	return slices.MaxFunc(holds, func(a, b Room) int { return cmp.Compare(len(a.Dir), len(b.Dir)) }), true
}

// under is the room itself and all that it stands on, directly or not.
func under(rooms []Room, dir string) map[string]bool {
	seen := map[string]bool{dir: true}
	for _, r := range rooms {
		if r.Dir != dir {
			continue
		}
		for _, s := range r.Stands {
			maps.Copy(seen, under(rooms, s))
		}
	}
	return seen
}

// tableErrors says what is wrong with a table itself: a row without a why, a room that is not
// there, and a circle (which would also never end in under).
func tableErrors(rooms []Room) []string {
	var wrong []string
	done := map[string]bool{}
	for left := len(rooms); left > 0; {
		before := left
		for _, r := range rooms {
			if !done[r.Dir] && !slices.ContainsFunc(r.Stands, func(s string) bool { return !done[s] }) {
				done[r.Dir] = true
				left--
			}
		}
		if left == before {
			break
		}
	}
	for _, r := range rooms {
		if r.Why == "" {
			wrong = append(wrong, r.Dir+": no why")
		}
		if !done[r.Dir] {
			wrong = append(wrong, r.Dir+": stands on a room without a row, or on itself in a circle")
		}
	}
	return wrong
}
