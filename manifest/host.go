package manifest

import (
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// hostProfile maps a host name as a browser would before a lookup. Underscores are let through: container networks
// have them.
var hostProfile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
	idna.BidiRule(),
)

// splitHost gives the canonical host, and the port unless it is a default one. The third value says what is wrong.
func splitHost(authority string) (host, port, problem string) {
	host = authority
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", "", "has an IPv6 address without its closing ]"
		}
		host, port = authority[:end+1], authority[end+1:]
		if port != "" && port[0] != ':' {
			return "", "", "has text between ] and the path"
		}
		port = strings.TrimPrefix(port, ":")
	} else if h, p, ok := strings.Cut(authority, ":"); ok {
		host, port = h, p
	}
	if port != "" && !isPort(port) {
		return "", "", "has a port that is not a number from 1 to 65535"
	}
	if port != "" {
		n, _ := strconv.Atoi(port)
		port = strconv.Itoa(n)
	}
	if defaultPorts[port] {
		port = ""
	}
	host, problem = canonicalHost(host)
	return host, port, problem
}

func canonicalHost(host string) (string, string) {
	if host == "" {
		return "", "has no host"
	}
	if strings.HasPrefix(host, "[") {
		return canonicalIPv6(host)
	}
	ascii, err := hostProfile.ToASCII(host)
	if err != nil {
		return "", "has a host that is not a domain name"
	}
	ascii = strings.ToLower(strings.TrimSuffix(ascii, "."))
	if len(ascii) > 253 {
		return "", "has a host longer than 253 bytes"
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if !isLabel(label) {
			return "", "has a host that is not a domain name"
		}
	}
	return ascii, ""
}

func canonicalIPv6(host string) (string, string) {
	addr, err := netip.ParseAddr(host[1 : len(host)-1])
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return "", "has a host that is not an IPv6 address"
	}
	return "[" + addr.String() + "]", ""
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func isPort(s string) bool {
	if len(s) == 0 || len(s) > 5 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	n, _ := strconv.Atoi(s)
	return n >= 1 && n <= 65535
}

// isLoopback reports whether host can only be this machine: localhost, or a literal loopback address.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && addr.Unmap().IsLoopback()
}
