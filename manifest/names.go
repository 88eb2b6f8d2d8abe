package manifest

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckName refuses what is not a cell's local name: ^[a-z0-9][a-z0-9-]{0,47}$. It becomes part of socket paths.
func CheckName(name string) error {
	if problem := nameProblem(name); problem != "" {
		return &NameError{"name", name, problem}
	}
	return nil
}

func nameProblem(name string) string {
	switch {
	case name == "":
		return "is empty; a name is 1 to 48 of a-z, 0-9 and -"
	case len(name) > MaxNameSize:
		return "is longer than 48 bytes"
	case name[0] == '-':
		return "begins with -; begin with a letter or a digit"
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') {
			return "has characters other than a-z, 0-9 and -"
		}
	}
	return ""
}

// CheckTag refuses what git does not take as the name of a tag (git-check-ref-format) and what reads as a version
// range: a cell is one tag. Tags are compared byte for byte.
func CheckTag(tag string) error {
	if problem := tagProblem(tag); problem != "" {
		return &NameError{"tag", tag, problem}
	}
	return nil
}

func tagProblem(tag string) string {
	switch {
	case tag == "":
		return `is empty; write the exact tag, such as "v1.3.0"`
	case len(tag) > MaxTagSize:
		return "is longer than 255 bytes"
	case isRange(tag):
		return `is a range; a cell is one tag: write the exact tag, such as "v1.3.0"`
	case tag[0] == '-':
		return "begins with -, which git would take for an option"
	case strings.HasPrefix(tag, "refs/"):
		return `is a full ref; write the tag alone, such as "v1.3.0"`
	}
	if p := textProblem(tag); p != "" {
		return p
	}
	if !isRefName(tag) {
		return "is not a name that git takes for a tag (see git help check-ref-format)"
	}
	return ""
}

// isRange reports the spellings of ranges that package managers know.
func isRange(tag string) bool {
	return strings.ContainsAny(tag, "^*~") || strings.ContainsAny(tag[:1], "<>=") ||
		strings.Contains(tag, "||") || strings.Contains(tag, ", ") || strings.Contains(tag, " - ")
}

// isRefName is git-check-ref-format for what stands behind refs/tags/.
func isRefName(tag string) bool {
	if strings.ContainsAny(tag, " ~^:?*[\\") || strings.Contains(tag, "..") || strings.Contains(tag, "@{") ||
		strings.HasSuffix(tag, ".") || tag == "@" {
		return false
	}
	for part := range strings.SplitSeq(tag, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return true
}

// textProblem refuses text that a terminal shows differently from what it is.
func textProblem(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' {
			return "has a control or invisible character"
		}
	}
	return ""
}

// CheckPath refuses what is not a clean relative path inside a repository: slashes only, no "..", no leading "-".
func CheckPath(path string) error {
	if problem := pathProblem(path); problem != "" {
		return &NameError{"path", path, problem}
	}
	return nil
}

func pathProblem(path string) string {
	switch {
	case path == "":
		return "is empty"
	case len(path) > MaxPathSize:
		return "is longer than 512 bytes"
	case path[0] == '/':
		return "is absolute; write it from the root of the repository"
	case strings.Contains(path, `\`):
		return "has a backslash; write / between folders"
	}
	if p := textProblem(path); p != "" {
		return p
	}
	for part := range strings.SplitSeq(path, "/") {
		switch {
		case part == "..":
			return "leaves the repository (..)"
		case part == "" || part == ".":
			return "is not clean; leave out // and ./"
		case part[0] == '-':
			return "has a part that begins with -"
		case strings.EqualFold(part, ".git"):
			return "reaches into .git"
		}
	}
	return ""
}
