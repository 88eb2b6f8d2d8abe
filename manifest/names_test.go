package manifest

import (
	"fmt"
	"testing"
)

func TestTags(t *testing.T) {
	for tag, want := range map[string]string{
		"v1.3.0": "", "2026.11": "", "release/2.0": "", "pkg@1.0.0": "", "v1.x": "", "größe": "", "latest": "",
		long("a", MaxTagSize): "",

		"": "is empty", long("a", MaxTagSize+1): "is longer",
		"^1.3": "is a range", "~1.3": "is a range", "v1.*": "is a range", ">=1.0": "is a range", "=1.0": "is a range",
		"<2": "is a range", "1.0, 2.0": "is a range", "1 - 2": "is a range", "1 || 2": "is a range",
		"-f": "begins with -", "--help": "begins with -", "refs/x": "is a full ref",
		"a b": "is not a name", "a..b": "is not a name", "a/": "is not a name", "/a": "is not a name",
		"a//b": "is not a name", ".a": "is not a name", "a/.b": "is not a name", "a.lock": "is not a name",
		"a.lock/b": "is not a name", "a.": "is not a name", "@": "is not a name", "a@{1}": "is not a name",
		"a:b": "is not a name", "a?": "is not a name", "a[": "is not a name", `a\b`: "is not a name",
		"a\nb": "has a control", "a\x00b": "has a control", "a\u202eb": "has a control", "a\xff": "is not valid UTF-8",
	} {
		checkProblem(t, fmt.Sprintf("CheckTag(%q)", tag), CheckTag(tag), want)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"exchange": "", "a": "", "0": "", "a-b-": "", long("a", 48): "",
		"": "is empty", "-a": "begins with -", "A": "has characters", "a_b": "has characters", "a.b": "has characters",
		"a/b": "has characters", "ä": "has characters", "a\n": "has characters", long("a", 49): "is longer",
	} {
		checkProblem(t, fmt.Sprintf("CheckName(%q)", name), CheckName(name), want)
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"Cell.toml": "", "proto/exchange.proto": "", "a b/c": "", "a/..b": "", long("a", MaxPathSize): "",
		"": "is empty", "/etc/passwd": "is absolute", "../x": "leaves", "a/../../x": "leaves", "a//b": "is not clean",
		"./a": "is not clean", "a/": "is not clean", "-a": "begins with -", "a/-b": "begins with -", `a\b`: "backslash",
		".git/config": "reaches into .git", "a/.GIT/x": "reaches into .git", "a\x00": "control", "\xff": "UTF-8",
		long("a", MaxPathSize+1): "is longer",
	} {
		checkProblem(t, fmt.Sprintf("CheckPath(%q)", path), CheckPath(path), want)
	}
}
