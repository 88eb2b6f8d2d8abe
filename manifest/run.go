package manifest

import (
	"strings"
	"time"
)

// Run says how the binary is started.
type Run struct {
	Args   []string          // argv behind the program's name. Nil: --membrane; empty: none
	Env    map[string]string // added to the environment, which is otherwise empty but for CELL_*
	Listen string            // "unix" (CELL_SOCKET), "tcp" (CELL_PORT); empty: unix
}

// Health says how to tell whether the service is well. A zero field takes internal/health's default.
type Health struct {
	Kind     string   // "grpc", "http", "tcp", "exec"; empty: by upstream
	Path     string   // http: the path to get. grpc: the service to ask for
	Command  []string // exec: argv; exit code 0 is well
	Interval time.Duration
	Timeout  time.Duration
	Failures int // in a row that make it unwell
}

// Sandbox says what the capsid lets the service reach. The zero value is: no network, nothing but the binary and its
// socket directory, default limits.
type Sandbox struct {
	Network  string   // "none", "host"; empty: none
	Read     []string // absolute paths that may be read
	Write    []string // absolute paths that may be read and written
	MemoryMB int      // MiB; 0: the default limit
	CPUs     float64  // cores; 0: the default limit
	Pids     int      // processes and threads; 0: the default limit
}

func readRun(n *node) Run {
	r := Run{
		Args:   n.texts("args", 256, 4096),
		Env:    readEnv(n.table("env")),
		Listen: n.oneOf("listen", "unix", "tcp"),
	}
	n.refuseUnknown()
	return r
}

func readEnv(n *node) map[string]string {
	keys := n.keys()
	if len(keys) > 256 {
		n.fail("has %d variables; at most 256 are read", len(keys))
		return nil
	}
	if len(keys) == 0 {
		return nil
	}
	env := make(map[string]string, len(keys))
	for _, k := range keys {
		v := n.child(k).asText(4096)
		switch {
		case !isVariable(k):
			n.child(k).fail("is not the name of an environment variable")
		case strings.HasPrefix(k, "CELL_"):
			n.child(k).fail("is set by cellnode; choose a name without CELL_")
		case strings.ContainsRune(v, 0):
			n.child(k).fail("has a zero byte")
		}
		env[k] = v
	}
	return env
}

func isVariable(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c == '_' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return s != ""
}

func readHealth(n *node) Health {
	h := Health{
		Kind:     n.oneOf("kind", "grpc", "http", "tcp", "exec"),
		Path:     n.text("path", MaxURLSize),
		Command:  readCommand(n, "command"),
		Interval: n.duration("interval", 100*time.Millisecond, time.Hour),
		Timeout:  n.duration("timeout", 10*time.Millisecond, time.Hour),
	}
	failures, _ := n.integer("failures", 1, 1000)
	h.Failures = int(failures)
	n.refuseUnknown()
	switch {
	case h.Kind == "exec" && h.Command == nil:
		n.fail(`is of kind exec and has no command; write command = ["./check"]`)
	case h.Kind != "exec" && h.Command != nil:
		n.child("command").fail(`goes with kind = "exec"`)
	case h.Kind == "http" && h.Path != "" && h.Path[0] != '/':
		n.child("path").fail("does not begin with /")
	case h.Path != "" && h.Kind != "http" && h.Kind != "grpc":
		n.child("path").fail(`goes with kind = "http" or "grpc"`)
	}
	return h
}

func readSandbox(n *node) Sandbox {
	s := Sandbox{
		Network: n.oneOf("network", "none", "host"),
		Read:    readHostPaths(n, "read"),
		Write:   readHostPaths(n, "write"),
		CPUs:    n.number("cpus", 0.01, 4096),
	}
	memory, _ := n.integer("memory_mb", 1, 1<<24)
	pids, _ := n.integer("pids", 1, 1<<22)
	s.MemoryMB, s.Pids = int(memory), int(pids)
	n.refuseUnknown()
	return s
}

// readHostPaths reads absolute paths of the machine that runs the cell.
func readHostPaths(n *node, key string) []string {
	paths := n.texts(key, 64, 4096)
	for _, p := range paths {
		if problem := diskProblem(p); problem != "" {
			n.child(key).fail("has %q: it %s", p, problem)
		}
	}
	return paths
}

func readCommand(n *node, key string) []string {
	argv := n.texts(key, 256, 4096)
	if argv != nil && (len(argv) == 0 || argv[0] == "") {
		n.child(key).fail("names no program")
	}
	return argv
}
