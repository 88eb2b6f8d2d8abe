package manifest

import (
	"net/url"
	"strings"
)

// cleanHostedPath checks and canonicalises the path of a repository on a host.
func cleanHostedPath(p string, fold bool) (string, string) {
	if fold {
		p = lowerASCII(p)
	}
	p = stripSuffix(p)
	if p == "" {
		return "", "has no path; write host/path"
	}
	decoded := p
	if strings.Contains(p, "%") {
		var err error
		if decoded, err = url.PathUnescape(p); err != nil {
			return "", "has a broken %-escape"
		}
		if strings.Count(decoded, "/") != strings.Count(p, "/") {
			return "", "has an escaped / in its path"
		}
	}
	return p, hostedPathProblem(p, decoded)
}

func hostedPathProblem(p, decoded string) string {
	if strings.ContainsAny(p, "@ ?#\"'<>|`$;&*") {
		return "has a character in its path that no repository has (one of @ ? # & ; $ * quotes, blanks)"
	}
	if strings.Contains(decoded, `\`) {
		return "has a backslash in its path"
	}
	for part := range strings.SplitSeq(decoded, "/") {
		switch {
		case part == "":
			return "has // in its path"
		case part == ".", part == "..":
			return "has " + part + " in its path; write the path without it"
		case part[0] == '-':
			return "has a part that begins with -, which git would take for an option"
		}
	}
	return textProblem(decoded)
}

// stripSuffix drops every trailing / and .git, so that a second pass finds nothing to drop.
func stripSuffix(p string) string {
	for {
		q := strings.TrimSuffix(strings.TrimRight(p, "/"), ".git")
		if q == p {
			return p
		}
		p = q
	}
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
