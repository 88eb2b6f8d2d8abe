package spawn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// place is where a service listens.
//
// A Unix socket is made by the service in a folder of its own, because the folder of all sockets is not for it to write.
// When it answers there it is renamed to where clients look, run/NAME.sock, at which the one of an earlier run may still
// lie: so there is never a moment without a socket, and never one that is not ready.
type place struct {
	network  string // "unix", "tcp"
	address  string // what clients dial: unix:PATH or tcp:HOST:PORT
	variable string // NAME=VALUE for the service
	public   string // unix: the path that clients dial
	dir      string // unix: the service's folder
	own      string // unix: what it makes there
	port     uint16 // tcp
}

func (c *Capsid) findPlace(ctx context.Context) (place, error) {
	if c.cfg.File.Run.Listen == "tcp" {
		return tcpPlace()
	}
	public, err := c.publicSocket(ctx)
	if err != nil {
		return place{}, err
	}
	dir := strings.TrimSuffix(public, ".sock") + ".d"
	p := place{network: "unix", address: "unix:" + public, public: public, dir: dir, own: filepath.Join(dir, "s")}
	p.variable = "CELL_SOCKET=" + p.own
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil { // of an owner that was killed
		return place{}, fmt.Errorf("spawn: %w", err)
	}
	if c.cfg.Open {
		return p, nil
	}
	if uid, gid := sandbox.User(c.name()); uid != os.Geteuid() {
		if err := os.Chown(dir, uid, gid); err != nil {
			return place{}, fmt.Errorf("spawn: %w", err)
		}
	}
	return p, nil
}

// endPatience is how long what an owner has left that was just killed may take to end.
const endPatience = 2 * time.Second

// publicSocket is the path that clients dial, once nobody answers there any more.
func (c *Capsid) publicSocket(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	tick := time.NewTicker(lastLook)
	defer tick.Stop()
	for {
		path, err := c.reg.Socket()
		if !errors.Is(err, home.ErrHeld) {
			return path, err
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-tick.C:
		}
	}
}

// tcpPlace picks a port that is free now. Who takes it in the meantime makes the start fail, and the next one succeed.
func tcpPlace() (place, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return place{}, fmt.Errorf("spawn: %w", err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	return place{
		network: "tcp", address: "tcp:127.0.0.1:" + strconv.Itoa(port), variable: "CELL_PORT=" + strconv.Itoa(port), port: uint16(port),
	}, nil
}

// dial is where the service of this run answers before it is shown.
func (p place) dial() (network, address string) {
	if p.network == "unix" {
		return "unix", p.own
	}
	return "tcp", strings.TrimPrefix(p.address, "tcp:")
}

// show makes the service's socket the one that clients find. What the service made is not trusted: it must be a socket,
// and nothing is followed.
func (p place) show() error {
	if p.network != "unix" {
		return nil
	}
	if err := os.Rename(p.own, p.public); err != nil {
		return fmt.Errorf("spawn: %w", err)
	}
	info, err := os.Lstat(p.public)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		err = errors.New("what the service made is no socket")
	}
	if err == nil {
		err = os.Lchown(p.public, os.Geteuid(), os.Getegid())
	}
	if err != nil {
		_ = os.Remove(p.public)
		return fmt.Errorf("spawn: %w", err)
	}
	return nil
}

// remove takes away what is the service's alone.
func (p place) remove() {
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}
