package manifest

import (
	"slices"
	"strings"
)

// Binary is one ready-made binary. Only its signed record (cell/bin/v1) makes it worth running.
type Binary struct {
	OS, Arch string // GOOS and GOARCH
	Commit   string // 40 or 64 hex digits
	Go       string // version of the toolchain, such as go1.26.8
	SHA256   string // 64 hex digits
	Size     int64  // bytes
	URL      string // https, or a path on the host that served the Cell.json
	Record   []byte // signed record; nil: none
}

func readBinaries(root *node) []Binary {
	var out []Binary
	seen := map[string]bool{}
	for _, n := range root.elements("binaries", MaxBinaries) {
		n.mustTable()
		b := readBinary(n)
		system := b.OS + "/" + b.Arch + " " + b.Commit
		if seen[system] {
			n.fail("is a second binary for %s", system)
		}
		seen[system] = true
		out = append(out, b)
	}
	sortBinaries(out)
	return out
}

func readBinary(n *node) Binary {
	b := Binary{
		OS:     n.text("os", 32),
		Arch:   n.text("arch", 32),
		Commit: readHex(n, "commit", 40, 64),
		Go:     n.text("go", 64),
		SHA256: readHex(n, "sha256", 64),
		URL:    n.text("url", MaxURLSize),
		Record: readBase64(n, "record", MaxRecordSize),
	}
	size, _ := n.integer("size", 1, 1<<40)
	b.Size = size
	n.refuseUnknown()
	switch {
	case !isBareKey(b.OS) || !isBareKey(b.Arch):
		n.fail("has no os and arch, such as linux and amd64")
	case b.Commit == "" || b.SHA256 == "" || b.Size == 0:
		n.fail("needs commit, sha256 and size")
	case b.URL != "" && !isBinaryURL(b.URL):
		n.child("url").fail("is neither an https URL nor a path that begins with /")
	}
	return b
}

func isBinaryURL(s string) bool {
	if strings.HasPrefix(s, "/") {
		return !strings.HasPrefix(s, "//") && !strings.Contains(s, "..")
	}
	loc, problem := parseLocation(s)
	return problem == "" && loc.scheme == "https" && !loc.password
}

func sortBinaries(list []Binary) {
	slices.SortFunc(list, func(a, b Binary) int {
		return strings.Compare(a.OS+"/"+a.Arch+" "+a.Commit, b.OS+"/"+b.Arch+" "+b.Commit)
	})
}
