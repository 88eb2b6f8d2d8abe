package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// maxRunning bounds run/NAME.json, in bytes.
const maxRunning = 64 << 10

// daemonName is taken: run/cellnode.sock is the daemon's.
const daemonName = "cellnode"

// Running is what a running node says of itself and its service. It is the content of run/NAME.json; readers of a file
// by another version pass over fields that they do not know.
type Running struct {
	Name        string    `json:"name"`              // the cell's name in its own Cell.toml
	Cell        string    `json:"cell"`              // repository@tag
	CID         string    `json:"cid"`               // of repository and tag
	Peer        string    `json:"peer"`              // the node's peer ID
	Commit      string    `json:"commit"`            // hex
	Fingerprint string    `json:"fingerprint"`       // of the interface, hex
	PID         int       `json:"pid"`               // the node's process; 0 is filled in with this one
	Socket      string    `json:"socket"`            // the service itself, dialled raw: unix:PATH or tcp:HOST:PORT
	API         string    `json:"api"`               // path of the node's own HTTP API socket
	Since       time.Time `json:"since"`             // zero is filled in with now
	Spawned     *Spawned  `json:"spawned,omitempty"` // nil: it was not built and started here by spawn
}

// Spawned is what Running says of a service that was built and started here. Running.PID is the process that owns it, and
// with whose end it ends.
type Spawned struct {
	PID      int    `json:"pid"`              // of its first process; 0 while it starts anew
	State    string `json:"state"`            // "ready", "backoff", "failed", "stopping"
	Sandbox  string `json:"sandbox"`          // the layers that hold it, or "none"
	SHA256   string `json:"sha256"`           // of the binary, hex
	Log      string `json:"log"`              // path
	Restarts int    `json:"restarts"`         // since the owner began
	Signed   bool   `json:"signed,omitempty"` // the binary is of its publishers' making, not built here
	Shared   bool   `json:"shared,omitempty"` // it serves other machines too
	Local    string `json:"local,omitempty"`  // why it does not, though it should
	API      string `json:"api,omitempty"`    // path of the socket at which the owner ends it; empty: the owner ends with it, by a signal
}

// Running returns the registrations whose node lives, sorted by file name. A hint, however fresh: only the handshake
// over the socket proves what answers there. Damaged files are left out and named in the error; the list holds the
// rest also then.
func (d *Dir) Running() ([]Running, error) {
	files, err := os.ReadDir(d.Path("run"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if _, err := d.Sub("run"); err != nil {
		return nil, err
	}
	var list []Running
	var damaged []error
	for _, file := range files {
		base, isJSON := strings.CutSuffix(file.Name(), ".json")
		if !isJSON || strings.HasPrefix(base, ".") {
			continue
		}
		// The lock first: a file read before could be of an owner that is gone by the time the next one holds the lock.
		if alive, err := held(d.Path("run", base+".lock")); err != nil || !alive {
			damaged = append(damaged, err)
			continue
		}
		running, err := readRunning(d.Path("run", file.Name()))
		if errors.Is(err, fs.ErrNotExist) || (err == nil && running.Socket == "") {
			continue // leaving, or claimed and not yet published
		}
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		list = append(list, running)
	}
	return list, errors.Join(damaged...)
}

func readRunning(path string) (Running, error) {
	file, err := os.Open(path)
	if err != nil {
		return Running{}, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRunning+1))
	if err != nil {
		return Running{}, fmt.Errorf("home: %w", err)
	}
	if len(data) > maxRunning {
		return Running{}, fmt.Errorf("home: %s: longer than %d bytes", path, maxRunning)
	}
	var running Running
	if err := json.Unmarshal(data, &running); err != nil {
		return Running{}, fmt.Errorf("home: %s: %w", path, err)
	}
	return running, nil
}

// Registration is a name below run/ that this process holds: run/BASE.json and run/BASE.sock are its to write.
// Publish and Close may be called from any goroutine, one at a time.
type Registration struct {
	dir    *Dir
	base   string
	socket string // the path that Socket handed out, or empty
	lock   *lock
}

// Claim takes a name for an instance of the cell with that CID: NAME, or NAME.1 … where instances of the same cell have
// the ones before, or NAME@12345678 (the CID's last eight characters) where another cell or tag has NAME, and for a cell
// named as the daemon's socket is. The claim is not listed by Running before Publish.
func (d *Dir) Claim(name, cid string) (*Registration, error) {
	if err := manifest.CheckName(name); err != nil {
		return nil, err
	}
	if strings.ContainsAny(cid, "/\\.\x00") {
		return nil, fmt.Errorf("home: %q is not a CID", cid)
	}
	if _, err := d.Sub("run"); err != nil {
		return nil, err
	}
	base, lock, err := d.claim(name, cid)
	if err != nil {
		return nil, err
	}
	manifest.ClearUnfinished(d.Path("run", base+".json")) // of a holder that was killed
	r := &Registration{dir: d, base: base, lock: lock}
	if err := r.Publish(Running{Name: name, CID: cid}); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (d *Dir) claim(name, cid string) (base string, l *lock, err error) {
	if name != daemonName {
		if l, err = tryLock(d.Path("run", name+".lock")); !errors.Is(err, ErrHeld) {
			return name, l, err
		}
		if holder, _ := readRunning(d.Path("run", name+".json")); holder.CID == cid {
			return d.firstFree("run", name)
		}
	}
	return d.firstFree("run", name+"@"+cid[max(0, len(cid)-8):])
}

// Register is Claim and Publish in one, for a service whose socket lies elsewhere.
func (d *Dir) Register(running Running) (*Registration, error) {
	r, err := d.Claim(running.Name, running.CID)
	if err != nil {
		return nil, err
	}
	if err := r.Publish(running); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Base is the name that was free: "exchange", "exchange.1", "exchange@aqtmcdef".
func (r *Registration) Base() string { return r.base }

// Socket returns the path of the instance's own socket, run/BASE.sock or its short form, free for the service to listen
// on. ErrHeld if a process that has outlived its node still answers there. Close removes what the service left.
func (r *Registration) Socket() (string, error) {
	path, err := r.dir.SocketPath(r.base + ".sock")
	if err != nil {
		return "", err
	}
	if err := clearSocket(path); err != nil {
		return "", err
	}
	r.socket = path
	return path, nil
}

// Publish writes run/BASE.json, in place of what it said before.
func (r *Registration) Publish(running Running) error {
	if running.PID == 0 {
		running.PID = os.Getpid()
	}
	if running.Since.IsZero() {
		running.Since = time.Now()
	}
	running.Since = running.Since.UTC().Round(0)
	data, err := json.MarshalIndent(running, "", "  ")
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	return write(r.file(), append(data, '\n'))
}

// Close takes the registration back and frees the name. It is idempotent. The service has ended by now: its socket is
// removed.
func (r *Registration) Close() error {
	if r.lock.released() {
		return nil
	}
	defer r.lock.release()
	var failed []error
	for _, path := range slices.DeleteFunc([]string{r.file(), r.socket}, func(p string) bool { return p == "" }) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("home: %w", err))
		}
	}
	return errors.Join(failed...)
}

func (r *Registration) file() string { return filepath.Join(r.dir.root, "run", r.base+".json") }
