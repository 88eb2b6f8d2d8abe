package manifest

import (
	"strings"
)

// foldHosts are the hosts known to ignore the case of a repository's path. The list is part of the key: a host added
// here moves every cell on it.
var foldHosts = map[string]bool{"github.com": true, "gitlab.com": true, "bitbucket.org": true}

// defaultPorts are dropped whatever the scheme, so that one repository has one name over https, ssh and git.
var defaultPorts = map[string]bool{"22": true, "80": true, "443": true, "9418": true}

// CanonicalRepository gives the one name of a repository, whatever way it was written: scheme, user,
// default port, trailing / and .git dropped; host in lower case and ASCII; path in lower case on hosts that ignore
// case; file: and the absolute path for repositories on disk. It is idempotent. The error is a *NameError.
func CanonicalRepository(url string) (string, error) {
	loc, problem := parseLocation(url)
	if problem == "" && loc.password {
		problem = "has a password in it; leave it out and let git's credential helper supply it"
	}
	if problem != "" {
		return "", &NameError{"repository", hidePassword(url), problem}
	}
	return loc.canonical(), nil
}

func (l location) canonical() string {
	if l.scheme == "file" {
		return "file:" + l.path
	}
	if l.port != "" {
		return l.host + ":" + l.port + "/" + l.path
	}
	return l.host + "/" + l.path
}

// hidePassword keeps a password out of messages and logs.
func hidePassword(s string) string {
	start := strings.Index(s, "://")
	if start < 0 {
		return s
	}
	start += len("://")
	end := start + strings.IndexByte(s[start:]+"/", '/')
	at := strings.LastIndexByte(s[start:end], '@')
	if at < 0 {
		return s
	}
	user, _, ok := strings.Cut(s[start:start+at], ":")
	if !ok {
		return s
	}
	return s[:start] + user + ":…" + s[start+at:]
}
