package codegen

import (
	"fmt"
	"go/token"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// PackageName is the Go package that a cell, or a part of a protobuf package's name, is generated as: its letters and
// digits, in lower case. What Go would not take gets a "cell" in front.
func PackageName(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		}
	}
	switch s := b.String(); {
	case s == "", s[0] >= '0' && s[0] <= '9', token.IsKeyword(s), slices.Contains(unfit, s):
		return "cell" + s
	default:
		return s
	}
}

// unfit are names that mean something to the go command, or hide what every Go file uses.
var unfit = []string{
	"main", "internal", "vendor", "testdata", "init", "error", "string", "int", "any", "nil", "true", "false", "append", "len",
	"new", "byte", "bool", "context", "grpc", "codes", "status", "client", "cellgrpc", "cellproto", "time", "net", "http",
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// isPlainPath keeps to characters that mean nothing to Go wherever a path is written.
func isPlainPath(s string) bool {
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/", r)) {
			return false
		}
	}
	return s != ""
}

// checkImportPath refuses what the go command does not take as the path of an import.
func checkImportPath(p string) error {
	ok := p != "" && p[0] != '/' && p[len(p)-1] != '/'
	for _, r := range p {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-~/+", r))
	}
	for part := range strings.SplitSeq(p, "/") {
		ok = ok && part != "" && strings.Trim(part, ".") != ""
	}
	if !ok {
		return fmt.Errorf("codegen: %q is no import path of a Go package: choose another folder with --out", p)
	}
	return nil
}

// folderNames gives each protobuf package but the root's a folder and so a Go package: the last part of its name, with
// the part before where the last is a version (acme.common.v1 → commonv1), and the whole name where that is taken.
func folderNames(packages []protoreflect.FullName) map[protoreflect.FullName]string {
	out := map[protoreflect.FullName]string{}
	used := map[string]bool{}
	for _, p := range packages {
		name := PackageName(shortPackage(p))
		for n := 0; used[name]; n++ {
			if name = PackageName(string(p)); n > 0 {
				name = fmt.Sprint(name, n+1)
			}
		}
		used[name], out[p] = true, name
	}
	return out
}

func shortPackage(p protoreflect.FullName) string {
	if p == "" {
		return "unnamed"
	}
	last := string(p.Name())
	if strings.TrimLeft(last, "v0123456789") == "" || strings.HasPrefix(last, "v1") || strings.HasPrefix(last, "v2") {
		return string(p.Parent().Name()) + last
	}
	return last
}

// fileBase is the name of the Go file that a protobuf file becomes, without an ending and without what the go command
// would take for a restriction to a system: money_linux.proto is for all of them.
func fileBase(proto string) string {
	base := strings.TrimLeft(strings.TrimSuffix(proto, ".proto"), "._")
	base = strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(base)
	if _, last, ok := cutLast(base, "_"); base == "" || ok && slices.Contains(systems, last) {
		base += "_proto"
	}
	return base
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// systems are the values of GOOS and GOARCH that the go command knows in the names of files, and test.
var systems = strings.Fields(`aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9
	solaris wasip1 windows zos 386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32
	mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm test`)
