package manifest

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func samplePublished() *Published {
	return &Published{
		Name: "exchange", Repository: exchange.Repository, Tag: exchange.Tag, Commit: long("a1", 20),
		Interface: PublishedInterface{
			Files: []string{"proto/exchange.proto"}, ImportRoots: []string{"proto"},
			Fingerprint: long("c3", 32), Descriptors: []byte{1, 2, 3},
		},
		Build: Build{Package: "./cmd/exchange"},
		Trust: &Trust{Keys: []string{zeroKey}, Threshold: 1},
		Binaries: []Binary{
			{
				OS: "darwin", Arch: "arm64", Commit: long("a1", 20), Go: "go1.26.8", SHA256: long("d4", 32), Size: 4007927,
				URL: "/blob/sha256/d4", Record: []byte{9},
			},
			{OS: "linux", Arch: "amd64", Commit: long("a1", 20), SHA256: long("e5", 32), Size: 1, URL: "https://h.org/b"},
		},
		Files: map[string][]byte{"Cell.toml": []byte("[package]\n\tname = \"exchange\"\n"), "proto/exchange.proto": []byte("x")},
	}
}

func TestPublishedBytesAreFrozen(t *testing.T) {
	data, err := samplePublished().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if want := readTestdata(t, "Cell.json"); !bytes.Equal(data, want) {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	back, err := ParsePublished("Cell.json", data)
	if err != nil || !reflect.DeepEqual(back, samplePublished()) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, back, samplePublished())
	}
}

func TestSmallestPublished(t *testing.T) {
	p := &Published{Name: "a", Repository: "h.org/a", Tag: "v1"}
	data, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParsePublished("Cell.json", data); err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("%v, %+v", err, back)
	}
}

func TestPublishedIsNotWrittenWhenItCouldNotBeRead(t *testing.T) {
	for want, spoil := range map[string]func(*Published){
		"name has characters":          func(p *Published) { p.Name = "X" },
		"repository is not canonical":  func(p *Published) { p.Repository = "https://h.org/a" },
		"is a range":                   func(p *Published) { p.Tag = "^1" },
		"commit is not 40 64":          func(p *Published) { p.Commit = "x" },
		"interface.fingerprint is not": func(p *Published) { p.Interface.Fingerprint = "" },
		"it leaves the repository":     func(p *Published) { p.Interface.Files = []string{"../x"} },
		"build.package leaves":         func(p *Published) { p.Build.Package = "../x" },
		"has a null":                   func(p *Published) { p.Trust.Keys = nil },
		"is a second binary":           func(p *Published) { p.Binaries[1].OS, p.Binaries[1].Arch = "darwin", "arm64" },
		"has no os and arch":           func(p *Published) { p.Binaries[0].OS = "../x" },
		"sha256 is not 64 lower-case":  func(p *Published) { p.Binaries[0].SHA256 = "" },
		"size is 0":                    func(p *Published) { p.Binaries[0].Size = 0 },
		"url is neither an https":      func(p *Published) { p.Binaries[0].URL = "http://h.org/a" },
		"is neither an https URL nor":  func(p *Published) { p.Binaries[0].URL = "//h.org/a" },
		"leaves the repository":        func(p *Published) { p.Files["../x"] = nil },
		"is not UTF-8":                 func(p *Published) { p.Files["x"] = []byte{0xff} },
		"is longer than 1048576":       func(p *Published) { p.Files["x"] = make([]byte, MaxInterfaceSize+1) },
	} {
		p := samplePublished()
		spoil(p)
		if data, err := p.Marshal(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\n%.500s", want, err, data)
		}
	}
}

func TestBadPublishedIsRefused(t *testing.T) {
	head := `{"name": "a", "repository": "h.org/a", "tag": "v1"`
	for text, want := range map[string]string{
		``:                                       "is not JSON",
		`[]`:                                     "is an array where an object is expected",
		`{}`:                                     "name is empty",
		head + `, "schema": 1}`:                  "schema is not a known key",
		head + `, "interface": []}`:              "interface is an array; write a table",
		head + `, "interface": {"file": []}}`:    "did you mean files?",
		head + `, "binaries": [1]}`:              "binaries[0] is an integer where an object is expected",
		head + `, "binaries": [{"goos": "x"}]}`:  "binaries[0].goos is not a known key",
		head + `, "files": {"/etc/passwd": ""}}`: "files.\"/etc/passwd\" is absolute",
		head + `, "files": {"a": 1}}`:            "files.a is an integer; write a string",
		head + `, "commit": "` + long("A", 40) + `"}`:      "commit is not 40 64 lower-case hex digits",
		long(" ", MaxPublishedSize+1):                      "at most 8388608 are read",
		head + `, "interface": {"files": ["a"]}}`:          "interface needs both files and fingerprint",
		head + `, "binaries": [{"os": "a", "arch": "b"}]}`: "binaries[0] needs commit, sha256 and size",
		head + `, "trust": {"keys": []}}`:                  "trust names no keys",
	} {
		p, err := ParsePublished("Cell.json", []byte(text))
		var fe *FileError
		if !errors.As(err, &fe) || p != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %s", text, err, want)
		}
	}
}

func FuzzParsePublished(f *testing.F) {
	f.Add(readTestdata(f, "Cell.json"))
	f.Add([]byte(`{"name": "a", "repository": "h.org/a", "tag": "v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePublished("Cell.json", data)
		if err != nil {
			return
		}
		out, err := p.Marshal()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := ParsePublished("Cell.json", out); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}

func FuzzParseFile(f *testing.F) {
	f.Add(readTestdata(f, "seed/Cell.toml"))
	f.Add(readTestdata(f, "seed/first-form.toml"))
	f.Add(readTestdata(f, "whole.toml"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := ParseFile("Cell.toml", data)
		if (file == nil) == (err == nil) {
			t.Fatalf("%+v, %v", file, err)
		}
		if err != nil {
			return
		}
		for name, d := range file.Cells {
			if CheckName(name) != nil || FetchURL(d.Git) != nil || CheckTag(d.Tag) != nil || d.Cell.IsZero() {
				t.Fatalf("accepted %+v", d)
			}
		}
	})
}
