package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Defaults and bounds of Limits.
const (
	DefaultMemory = 1 << 30   // bytes
	DefaultPids   = 512       // processes and threads
	DefaultDisk   = 256 << 20 // bytes
	maxFiles      = 4096      // open files of one process
)

// Limits bound what everything in a box uses together, as far as the layers can (see Layers). A zero field takes its
// default.
type Limits struct {
	Memory int64   // bytes, the scratch folder among them; 0: 1 GiB
	CPUs   float64 // cores, by a cgroup alone; 0: no limit
	Pids   int     // processes and threads; 0: 512
	Disk   int64   // bytes in the scratch folder, or without mounts of each file that is written; 0: 256 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = DefaultMemory
	}
	if l.Pids == 0 {
		l.Pids = DefaultPids
	}
	if l.Disk == 0 {
		l.Disk = DefaultDisk
	}
	return l
}

// Box says what a program may see and use. All paths are absolute, and the same inside and outside.
type Box struct {
	Name string   // names the cgroup and, as root, the user that the program runs as: a-z, 0-9 and -
	Args []string // the program by its full path, and its arguments
	Dir  string   // where it runs; empty: Scratch, or else /
	Env  []string // NAME=VALUE, all there is

	Read    []string // files and folders that may be read and run. What is missing is left out
	Write   []string // files and folders that may be written too; they must exist
	Sockets []string // folders in which sockets may be made and removed, and nothing else
	Scratch string   // an empty folder of the caller's, for files that go with the box: TMPDIR. Empty: none
	Layered []string // folders below which the program may write what is thrown away with the box; needs Layers.Mounts
	Copy    string   // a folder that is copied to the folder src in Scratch before the start; empty: none

	Network bool   // the whole network of this machine; false: none at all but Port
	Port    uint16 // without Network: the one TCP port to listen on; 0: none

	Collect    string   // a file that is copied to CollectTo when the program has ended with 0; empty: none
	CollectTo  *os.File // stays the caller's
	CollectMax int64    // bytes of that file; larger is an error

	Limits Limits
	Open   bool // no walls: no namespaces, Landlock or seccomp. Limits and the clean end stay

	// Denied is told what the program was refused, in a few words; each kind once, 64 kinds at most, and never after
	// Process.Done is closed. It is called from one goroutine at a time, while the program waits, and must be quick. What is
	// told is what the filter of calls refuses (Linux 5.0), and processes beyond the limit of a cgroup; files out of sight
	// do not exist for the program, and what Landlock refuses only the kernel's own audit knows. Nil: nobody asks.
	Denied func(what string)

	Ready          *os.File  // becomes the program's descriptor 3; stays the caller's. Nil: there is none
	Stdout, Stderr io.Writer // nil: thrown away
}

func (b Box) validate() error {
	switch {
	case b.Name == "":
		return errors.New("sandbox: the box has no name")
	case len(b.Args) == 0:
		return errors.New("sandbox: the box has no program")
	case b.Copy != "" && b.Scratch == "":
		return errors.New("sandbox: Copy needs Scratch")
	case b.Limits.Memory < 0 || b.Limits.Disk < 0 || b.Limits.Pids < 0 || b.Limits.CPUs < 0:
		return errors.New("sandbox: a limit is negative")
	}
	for _, path := range slices.Concat(b.Read, b.Write, b.Sockets, b.Layered, b.places()) {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return fmt.Errorf("sandbox: path %q is not absolute and clean", path)
		}
	}
	return nil
}

// places are the paths that may be empty.
func (b Box) places() []string {
	return slices.DeleteFunc([]string{b.Dir, b.Scratch, b.Copy, b.Collect}, func(p string) bool { return p == "" })
}

// dir is where the program runs.
func (b Box) dir() string {
	switch {
	case b.Dir != "":
		return b.Dir
	case b.Scratch != "":
		return b.Scratch
	}
	return "/"
}
