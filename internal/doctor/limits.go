package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// wantedBuffer is the size of a UDP socket's buffer that quic-go asks for, in bytes (protocol.DesiredReceiveBufferSize).
const wantedBuffer = 7 << 20

// limits says which limits of the system are below what a node asks for.
func limits(_ context.Context, m *machine) []Finding {
	var list []Finding
	for _, name := range []string{"rmem_max", "wmem_max"} {
		n, err := strconv.Atoi(m.sysctl("net/core/" + name))
		if err != nil {
			continue // not Linux
		}
		if n < wantedBuffer {
			list = append(list, finding(Warning, fmt.Sprintf("net.core.%s is %d bytes, and QUIC asks for %d: bulk data over UDP is slower than it could be", name, n, wantedBuffer),
				fmt.Sprintf("sudo sysctl -w net.core.%s=%d", name, wantedBuffer)))
		}
	}
	if n, ok := openFiles(); ok && n < 1024 {
		list = append(list, finding(Warning, fmt.Sprintf("this user's processes may open %d files: too few for a busy node", n), "ulimit -n 4096, or LimitNOFILE=4096 in the systemd unit"))
	}
	if len(list) == 0 {
		list = append(list, finding(OK, "no limit of the system is in a node's way", ""))
	}
	return list
}

// sysctl returns a setting of the kernel, or an empty string where there is none.
func (m *machine) sysctl(name string) string {
	data, err := os.ReadFile(filepath.Join(m.Root, "proc/sys", name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
