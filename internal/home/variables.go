package home

import (
	"fmt"
	"slices"
	"strings"
)

// variables are those of the environment that stand for no key of config.toml.
var variables = []string{
	"CELL_DAEMON", // off, auto or a socket: which node of this machine clients ask
	"CELL_FILE",   // the Cell.toml of a client that has none above it
	"CELL_GRANT",  // the grant of a container's instance
	"CELL_HOME",   // in place of ~/.cell
	"CELL_KEY",    // the identity of a container's instance
	"CELL_NAME",   // given to a service that run or spawn starts: its name
	"CELL_PORT",   // given to a service that run or spawn starts: the port to listen on
	"CELL_SOCKET", // given to a service that run or spawn starts: the socket to listen on
}

// Variables lists the CELL_* variables that mean something, in alphabetical order.
func Variables() []string {
	list := slices.Clone(variables)
	for _, s := range settings {
		list = append(list, s.Variable())
	}
	slices.Sort(list)
	return list
}

// UnknownVariables returns a line for each CELL_* variable of environ, as os.Environ returns it, that means nothing: the
// misspelt name of one that does would otherwise be passed over in silence.
func UnknownVariables(environ []string) []string {
	var lines []string
	known := Variables()
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "CELL_") && text != "" && !slices.Contains(known, name) {
			lines = append(lines, fmt.Sprintf("%s is not a known variable; %s", name, nearest(name, known)))
		}
	}
	slices.Sort(lines)
	return lines
}
