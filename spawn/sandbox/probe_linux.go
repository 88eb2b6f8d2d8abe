package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"sync"
	"time"
)

// probeTimeout bounds the try of one kind of walls.
const probeTimeout = 5 * time.Second

var probed = sync.OnceValue(probe)

// Probe says which layers hold, by trying each once in the life of this process. It takes some ten milliseconds the
// first time.
func Probe() Layers { return probed() }

func probe() Layers {
	l := Layers{Walls: WallsNone, Landlock: landlockVersion(), Seccomp: hasSeccomp()}
	if g, err := newCgroup(ownGroups("/"), "probe", Limits{}.withDefaults()); err == nil {
		l.Cgroup = g.version
		g.remove()
	}
	for _, walls := range kinds() {
		err := tryWalls(walls, l)
		if err == nil {
			l.Walls = walls
			break
		}
		if l.WallsErr == "" {
			l.WallsErr = fmt.Sprintf("%s: %v", walls, err)
		}
	}
	return l
}

// kinds are the kinds of walls that may hold for this user, the best first.
func kinds() []Walls {
	if os.Geteuid() == 0 {
		return []Walls{WallsRoot, WallsUser} // what root may not do, bubblewrap may not do for it
	}
	list := []Walls{WallsUser}
	if _, err := exec.LookPath("bwrap"); err == nil {
		list = append(list, WallsBubblewrap)
	}
	return list
}

// tryWalls puts up a box that nothing runs in.
func tryWalls(walls Walls, l Layers) error {
	l.Walls, l.Cgroup = walls, 0
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	p, err := launch(ctx, Box{Name: "probe", Args: []string{"/"}, Scratch: "/tmp", Limits: Limits{}.withDefaults()}, l, true)
	if err != nil {
		return err
	}
	return p.Close()
}

// Users of boxes that root starts. Each name has a number of its own, from a range that systemd leaves to nobody
// (systemd, UIDS-GIDS: "HIC SVNT LEONES" begins at 2147483648; containers end at 1879048191).
const (
	firstStranger = 0x70000000
	strangers     = 0x10000000
	nobody        = 65534
)

// stranger is the user that root runs a box of this name as: one that owns nothing else; -1 where there is none.
func stranger(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	for _, id := range []int{firstStranger + int(h.Sum32()%strangers), nobody} {
		if isMapped("/proc/self/uid_map", id) && isMapped("/proc/self/gid_map", id) {
			return id
		}
	}
	return -1
}

// isMapped says whether a user exists in this user namespace (user_namespaces(7)).
func isMapped(path string, id int) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var inside, outside, size int
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &size); err == nil && id >= inside && id-inside < size {
			return true
		}
	}
	return false
}

// boxUser is the user that a box changes to; -1: it does not change. Where init has not made all mounts itself, the way
// to what the box may see leads through folders that are root's alone.
func boxUser(name string, walls Walls) int {
	if os.Geteuid() != 0 || walls != WallsRoot {
		return -1
	}
	return stranger(name)
}

// User is the number of the user, and of the group, that the program of a box of this name runs as: what it is to write
// must belong to them. For an ordinary user these are the user's own.
func User(name string) (uid, gid int) {
	if id := boxUser(name, Probe().Walls); id >= 0 {
		return id, id
	}
	return os.Geteuid(), os.Getegid()
}
