package source

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What could lead out of the folder, or be acted upon later, is left out and named.
func TestExportWritesPlainFilesAlone(t *testing.T) {
	r := exchange(t)
	r.write("cmd/exchange/main.go", "package main\n")
	r.write("build.sh", "#!/bin/sh\n")
	if err := os.Chmod(filepath.Join(r.dir, "build.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write(".gitattributes", "* filter=evil eol=crlf\n")
	r.link("vendor", "/etc")
	r.write("deep/file", "")
	r.link("deep/link", "../../..")
	r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",sub")
	commit := r.commitIndex("v1.1.0")
	dir := t.TempDir()
	s := newSource(t, Config{})
	leftOut, err := s.Export(t.Context(), r.dir, "v1.1.0", commit, dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"deep/link", "sub", "vendor"}; !slices.Equal(leftOut, want) {
		t.Errorf("left out are %v, want %v", leftOut, want)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "cmd/exchange/main.go")); err != nil || string(data) != "package main\n" {
		t.Errorf("%q, %v", data, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "build.sh")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("build.sh: %v, %v", info, err)
	}
	for _, path := range []string{"vendor", "deep/link", "sub", ".git"} {
		if _, err := os.Lstat(filepath.Join(dir, path)); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	r.write("more", "")
	r.commit("v1.1.0") // moved
	var host *UnreachableError
	if _, err := s.Export(t.Context(), r.dir, "v1.1.0", commit, t.TempDir()); err != nil && !errors.As(err, &host) {
		t.Errorf("a moved tag: %v", err)
	}
}

// commitIndex commits what is staged beside everything else.
func (r *repo) commitIndex(tag string) string {
	r.t.Helper()
	r.git("add", "--force", ".gitattributes", "cmd", "build.sh", "vendor", "deep")
	r.git("commit", "--quiet", "--message", "m")
	r.git("tag", "--force", tag)
	return r.git("rev-parse", "HEAD")
}
