package spawn

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// idleLook is how often connections are counted.
const idleLook = time.Second

// watchIdle ends the service when nobody was connected for the time that is set. Clients connect to it directly, so
// the kernel is asked who is there; a connection that comes and goes between two looks is not seen.
func (c *Capsid) watchIdle() {
	tick := time.NewTicker(min(idleLook, c.cfg.IdleExit))
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		if c.inUse() || c.shared.Load() { // others count on what is shared
			last = time.Now()
		}
		if time.Since(last) >= c.cfg.IdleExit {
			c.cfg.Log.Info("nobody was connected, the service ends", "cell", c.cfg.Cell.String(), "for", c.cfg.IdleExit)
			c.stop(errIdle)
			return
		}
	}
}

// inUse says whether a connection is open; what cannot be told counts as one.
func (c *Capsid) inUse() bool {
	if c.place.network == "unix" {
		// Num RefCount Protocol Flags Type St Inode Path; St 03 is connected. The service's end of a connection carries the
		// path that was bound, and is listed in the network namespace of the client.
		return connected("/proc/self/net/unix", func(line string) bool {
			f := strings.Fields(line)
			return len(f) >= 8 && f[5] == "03" && strings.HasSuffix(line, " "+c.place.own)
		})
	}
	port := fmt.Sprintf(":%04X", c.place.port)
	isOurs := func(line string) bool { // sl local_address rem_address st …; 01 is established
		f := strings.Fields(line)
		return len(f) > 3 && strings.HasSuffix(f[1], port) && f[3] == "01"
	}
	return connected("/proc/self/net/tcp", isOurs) || connected("/proc/self/net/tcp6", isOurs)
}

func connected(path string, match func(line string) bool) bool {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return false // without IPv6
	}
	if err != nil {
		return true
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if match(lines.Text()) {
			return true
		}
	}
	return false
}
