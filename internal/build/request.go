package build

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/codegen"
	"github.com/cellnode/cellnode/manifest"
)

// Request asks for the generated package of one cell.
type Request struct {
	Cell    string           // name in Cell.toml, or repository@tag
	Clients []codegen.Client // what the clients of its services are called
	Dir     string           // folder of the generated package; empty: below the builder's Dir, named after the cell

	AllowOpen bool // take a cell that is named by its repository and names no publishers

	below string // the folder that such a one lies below; empty: the builder's Dir
}

// ParseRequests reads the arguments of cellnode remote: TYPE=CELL or TYPE=CELL:SERVICE. Those of one cell are one
// Request.
func ParseRequests(args []string) ([]Request, error) {
	var out []Request
	at := map[string]int{}
	for _, arg := range args {
		name, cell, ok := strings.Cut(arg, "=")
		if !ok || name == "" || cell == "" {
			return nil, fmt.Errorf("build: %q is no TYPE=CELL: write it as in ExchangeClient=exchange", arg)
		}
		cell, service := splitService(cell)
		if _, seen := at[cell]; !seen {
			at[cell] = len(out)
			out = append(out, Request{Cell: cell})
		}
		r := &out[at[cell]]
		r.Clients = append(r.Clients, codegen.Client{Type: name, Service: service})
	}
	return out, nil
}

// splitService cuts the service off. A tag holds no colon; what stands before the tag may hold some.
func splitService(cell string) (rest, service string) {
	tag := strings.LastIndex(cell, "@")
	if at := strings.LastIndex(cell, ":"); at > tag && (tag >= 0 || manifest.CheckName(cell[:at]) == nil) {
		return cell[:at], cell[at+1:]
	}
	return cell, ""
}

// String is the request as it stands on the command line.
func (r Request) String() string {
	var out []string
	for _, c := range r.Clients {
		text := c.Type + "=" + r.Cell
		if c.Service != "" {
			text += ":" + c.Service
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// folder is where the package of a request goes.
func (r Request) folder(dir, name string) string {
	if r.below != "" {
		dir = r.below
	}
	switch {
	case r.Dir == "":
		return filepath.Join(dir, codegen.PackageName(name))
	case filepath.IsAbs(r.Dir):
		return r.Dir
	}
	return filepath.Join(dir, r.Dir)
}
