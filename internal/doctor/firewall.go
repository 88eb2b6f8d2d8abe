package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	ma "github.com/multiformats/go-multiaddr"
)

// DefaultPort is the UDP port that a node listens on where the settings say nothing else.
const DefaultPort = 40000

// firewall looks for the two host firewalls that are usual on Linux. What stands between this machine and the Internet
// cannot be seen from here.
func firewall(_ context.Context, m *machine) []Finding {
	var list []Finding
	conf, err := os.ReadFile(filepath.Join(m.Root, "etc/ufw/ufw.conf"))
	if err == nil && regexp.MustCompile(`(?mi)^ENABLED=yes`).Match(conf) {
		for _, port := range m.udpPorts() {
			list = append(list, m.ufw(port))
		}
	}
	if _, err := os.Stat(filepath.Join(m.Root, "run/firewalld")); err == nil {
		for _, port := range m.udpPorts() {
			list = append(list, finding(Unknown, fmt.Sprintf("firewalld runs here; whether it lets UDP %d in is its to say", port),
				fmt.Sprintf("sudo firewall-cmd --permanent --add-port=%d/udp && sudo firewall-cmd --reload", port)))
		}
	}
	if len(list) == 0 {
		list = append(list, finding(Unknown, "neither ufw nor firewalld is switched on here; a firewall further out cannot be seen from here",
			fmt.Sprintf("if others do not reach this machine: sudo ufw allow %d/udp, and the same in the cloud's or the router's firewall", m.udpPorts()[0])))
	}
	return list
}

// ufw says whether a rule of ufw lets a UDP port in.
func (m *machine) ufw(port int) Finding {
	remedy := fmt.Sprintf("sudo ufw allow %d/udp", port)
	rules, err := os.ReadFile(filepath.Join(m.Root, "etc/ufw/user.rules"))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return finding(Unknown, fmt.Sprintf("ufw is on, and only root can read whether it lets UDP %d in", port), remedy)
	case err != nil:
		return finding(Unknown, fmt.Sprintf("ufw is on, and its rules cannot be read: %v", err), remedy)
	}
	rule := regexp.MustCompile(fmt.Sprintf(`(?m)^### tuple ### allow (udp|any) (%d|any) \S+ (any|\S+) \S+ in`, port))
	if rule.Match(rules) {
		return finding(OK, fmt.Sprintf("ufw is on, and lets UDP %d in", port), "")
	}
	return finding(Error, fmt.Sprintf("ufw is on, and no rule of it lets UDP %d in: others cannot reach this machine", port), remedy)
}

// udpPorts are the UDP ports that this machine's nodes listen on, or would; never empty.
func (m *machine) udpPorts() []int {
	addrs := m.Config.Config.Listen
	if len(m.Nodes) > 0 {
		addrs = nil
		for _, s := range m.Nodes {
			addrs = append(addrs, s.Listen...)
		}
	}
	var ports []int
	for _, text := range addrs {
		a, err := ma.NewMultiaddr(text)
		if err != nil {
			continue
		}
		value, err := a.ValueForProtocol(ma.P_UDP)
		if err != nil {
			continue
		}
		if port, err := strconv.Atoi(value); err == nil && port != 0 && !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	if len(ports) == 0 {
		return []int{DefaultPort}
	}
	return ports
}
