package sandbox

import (
	"fmt"
	"strings"
)

// Walls are where namespaces come from.
type Walls string

// The kinds of namespaces, from the one that is tried first.
const (
	WallsRoot       Walls = "root"       // made as root, without a user namespace; the program gets a user of its own
	WallsUser       Walls = "user"       // made by an ordinary user
	WallsBubblewrap Walls = "bubblewrap" // made by the command bwrap
	WallsNone       Walls = "none"
)

// Layers are those that hold on this machine for this user.
type Layers struct {
	Walls    Walls  `json:"namespaces"`
	WallsErr string `json:"namespaces_error,omitempty"` // why the best kind of Walls that does not hold does not
	Landlock int    `json:"landlock"`                   // version; 0: none. TCP needs 4, signals and abstract sockets 6
	Seccomp  bool   `json:"seccomp"`
	Cgroup   int    `json:"cgroup"` // version 1 or 2 in which groups can be made; 0: none
}

// Mounts says whether a box has a view of its own of the file system, so that Scratch is limited in size and Layered works.
func (l Layers) Mounts() bool { return l.Walls == WallsRoot || l.Walls == WallsUser }

// Enough says whether a box with these layers may be started.
func (l Layers) Enough() bool { return l.Walls != WallsNone || l.Landlock > 0 && l.Seccomp }

// String is one line.
func (l Layers) String() string {
	var list []string
	if l.Walls != WallsNone {
		list = append(list, "namespaces ("+string(l.Walls)+")")
	}
	if l.Landlock > 0 {
		list = append(list, fmt.Sprintf("landlock %d", l.Landlock))
	}
	if l.Seccomp {
		list = append(list, "seccomp")
	}
	if l.Cgroup > 0 {
		list = append(list, fmt.Sprintf("cgroup v%d", l.Cgroup))
	} else {
		list = append(list, "rlimits")
	}
	return strings.Join(list, ", ")
}
