package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cellnode/cellnode/manifest"
)

func interfaceOf(t *testing.T, name string) (print string, data []byte) {
	t.Helper()
	text := fmt.Sprintf("syntax = \"proto3\"; message %s {}", name)
	files, err := manifest.Compile(map[string][]byte{"a.proto": []byte(text)}, []string{"a.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	set := manifest.InterfaceSet{Files: files}
	if data, err = set.Marshal(); err != nil {
		t.Fatal(err)
	}
	return set.Fingerprint(), data
}

func TestInterfacesAreKeptByWhatTheyAre(t *testing.T) {
	d, err := At(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	print, data := interfaceOf(t, "M")
	if _, err := d.Interface(print); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before it is kept: %v", err)
	}
	if err := d.KeepInterface(print, data); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Interface(print); err != nil || got.Fingerprint() != print {
		t.Fatalf("kept: %v", err)
	}
	other, otherData := interfaceOf(t, "N")
	if err := os.WriteFile(d.Path("cache", "interfaces", print), otherData, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Interface(print); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another interface under its name was taken: %v", err)
	}
	if _, err := os.Stat(d.Path("cache", "interfaces", print)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged file is still there: %v", err)
	}
	if err := d.KeepInterface("../../"+other, otherData); err == nil {
		t.Error("a path was taken for a fingerprint")
	}
}

func TestNoMoreInterfacesAreKeptThanAreGoodForAnybody(t *testing.T) {
	d, err := At(filepath.Join(t.TempDir(), "home"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range maxInterfaces + 10 {
		print, data := interfaceOf(t, fmt.Sprintf("M%d", n))
		if err := d.KeepInterface(print, data); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(d.Path("cache", "interfaces"))
	if err != nil || len(entries) != maxInterfaces {
		t.Errorf("%d files, want %d (%v)", len(entries), maxInterfaces, err)
	}
}
