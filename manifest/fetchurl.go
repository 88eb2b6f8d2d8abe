package manifest

import "strings"

// FetchURL says whether git may be pointed at s: https, ssh, git@host:path, file:// or an absolute path; http and git
// to this machine only, since anyone on the way could change what they carry. Everything that CanonicalRepository
// refuses is refused here too. The error is a *NameError.
func FetchURL(s string) error {
	loc, problem := parseLocation(s)
	if problem == "" {
		problem = loc.fetchProblem(s)
	}
	if problem != "" {
		return &NameError{"URL", hidePassword(s), problem}
	}
	return nil
}

func (l location) fetchProblem(s string) string {
	switch {
	case l.password:
		return "has a password in it; leave it out and let git's credential helper supply it"
	case l.scheme == "":
		return "has no scheme; write https:// or ssh:// in front"
	case (l.scheme == "http" || l.scheme == "git") && !isLoopback(l.host):
		return "is not encrypted; write https:// or ssh:// (http and git are taken for this machine alone)"
	case l.scheme == "file" && !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "file:///"):
		return "is not a URL that git takes; write file:///path or the path alone"
	}
	return ""
}
