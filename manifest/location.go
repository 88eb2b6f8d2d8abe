package manifest

import (
	"net/url"
	"path"
	"strings"
)

// location is a repository's address in parts.
type location struct {
	scheme   string // https, http, ssh, git, file; "scp" for git@host:path; "" for host/path
	user     string
	password bool
	host     string // ASCII, lower case, IPv6 in brackets; empty for file
	port     string // digits, or empty
	path     string // no leading slash, or absolute for file
}

// parseLocation returns a problem instead of an error; empty means none.
func parseLocation(s string) (location, string) {
	if p := rawProblem(s); p != "" {
		return location{}, p
	}
	if isDisk(s) {
		return parseDisk(s)
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return parseURL(strings.ToLower(scheme), rest)
	}
	return parseShort(s)
}

// rawProblem refuses what no form of address may contain.
func rawProblem(s string) string {
	switch {
	case s == "":
		return "is empty; write the URL of the cell's repository"
	case len(s) > MaxURLSize:
		return "is longer than 2048 bytes"
	case s[0] == '-':
		return "begins with -, which git would take for an option"
	case isHelper(s):
		return "names a git remote helper; write an https, ssh or file URL"
	case strings.Contains(s, `\`):
		return "has a backslash; write / between folders"
	case strings.HasPrefix(s, "."), strings.HasPrefix(s, "~"):
		return "is a relative path; write the absolute path or a URL"
	}
	return textProblem(s)
}

// isHelper reports git's transport::address form, which runs a program (ext::, fd:: and whatever is installed).
func isHelper(s string) bool {
	i := strings.Index(s, "::")
	return i >= 0 && !strings.ContainsAny(s[:i], "/@[")
}

func isDisk(s string) bool {
	return strings.HasPrefix(s, "/") || len(s) >= 5 && strings.EqualFold(s[:5], "file:")
}

// parseDisk reads /path, file:///path, and our own file:/path. Only the URL form is percent-decoded, as git does.
func parseDisk(s string) (location, string) {
	p := s
	if len(s) >= 5 && strings.EqualFold(s[:5], "file:") {
		p = s[5:]
		if rest, ok := strings.CutPrefix(p, "//"); ok {
			rest = strings.TrimPrefix(rest, "localhost")
			decoded, err := url.PathUnescape(rest)
			if err != nil {
				return location{}, "has a broken %-escape"
			}
			if !strings.HasPrefix(decoded, "/") {
				return location{}, "is a file URL with a host; write file:///path"
			}
			p = decoded
		}
	}
	if pr := diskProblem(p); pr != "" {
		return location{}, pr
	}
	clean := stripSuffix(path.Clean("/" + strings.TrimLeft(p, "/")))
	if clean == "" {
		return location{}, "names no repository, only the root of the disk"
	}
	if clean != path.Clean(clean) { // a folder named ..git
		return location{}, "ends in dots, which names no repository"
	}
	return location{scheme: "file", path: clean}, ""
}

func diskProblem(p string) string {
	if !strings.HasPrefix(p, "/") {
		return "is a relative path; write the absolute path"
	}
	if strings.Contains(p, `\`) {
		return "has a backslash; write / between folders"
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "has .. in its path; write the path without it"
		}
	}
	return textProblem(p)
}

// parseURL reads what follows ://.
func parseURL(scheme, rest string) (location, string) {
	switch scheme {
	case "git+ssh", "ssh+git":
		scheme = "ssh"
	case "https", "http", "ssh", "git":
	default:
		return location{}, "has the scheme " + scheme + "; write an https, ssh or file URL"
	}
	if strings.ContainsAny(rest, "?#") {
		return location{}, "has a query or a fragment; leave it out"
	}
	authority, p, _ := strings.Cut(rest, "/")
	loc := location{scheme: scheme, path: p}
	return loc.withAuthority(authority)
}

// parseShort reads host/path, host:port/path (both canonical), host:path and user@host:path (both scp).
func parseShort(s string) (location, string) {
	end := authorityEnd(s)
	switch {
	case end < 0 && strings.Contains(s, "[") && !strings.Contains(s, "]"):
		return location{}, "has an IPv6 address without its closing ]"
	case end < 0:
		return location{}, "has a host but no path; write host/path or a URL"
	}
	authority, rest := s[:end], s[end+1:]
	if s[end] == '/' {
		if strings.Contains(authority, "@") {
			return location{}, "has a user but no scheme; write ssh:// in front, or git@host:path"
		}
		return location{path: rest}.withAuthority(authority)
	}
	if port, p, ok := strings.Cut(rest, "/"); ok && isPort(port) && !strings.Contains(authority, "@") {
		return location{path: p}.withAuthority(authority + ":" + port)
	}
	return location{scheme: "scp", path: strings.TrimLeft(rest, "/")}.withAuthority(authority)
}

// withAuthority fills user, host and port from [user[:password]@]host[:port], then checks and cleans the path.
func (l location) withAuthority(authority string) (location, string) {
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user := authority[:i]
		l.user, _, l.password = strings.Cut(user, ":")
		authority = authority[i+1:]
		if strings.HasPrefix(user, "-") {
			return location{}, "has a user that begins with -, which ssh would take for an option"
		}
	}
	host, port, p := splitHost(authority)
	if p != "" {
		return location{}, p
	}
	l.host, l.port = host, port
	l.path, p = cleanHostedPath(l.path, foldHosts[host])
	return l, p
}
