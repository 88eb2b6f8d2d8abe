package codegen

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/manifest"
)

// FuzzGenerate holds the output to what generated code may contain, by rules of the test's own: whatever the interface
// says, the files parse, import what is known, carry no directive, and no text of the interface outside string literals
// and identifiers.
func FuzzGenerate(f *testing.F) {
	f.Add("a.proto", exchangeProto, "ExchangeClient", "")
	f.Add("x/y.proto", `syntax = "proto2"; package a.b; option go_package = "x\"; import \"C\"//"; message M { optional string s = 1 [default = "\n//go:embed x\n*/ import \"os/exec\"\n"]; }`, "", "")
	f.Add("a.proto", "//go:build ignore\n/* #cgo LDFLAGS: x */ syntax = \"proto3\"; // +build x\nmessage init {} service C { rpc go(init) returns (init); }", "Init", "C")
	f.Add("a.proto", `edition = "2023"; package p; enum E { A = 0; } message M { map<string, E> m = 1; oneof o { M a = 2; } reserved 5; } service S { rpc X(stream M) returns (stream M); }`, "S", "p.S")
	f.Add("a\n//go:embed x.proto", `syntax = "proto3"; message M {}`, "M", "")
	f.Add("api.json", `{}`, "LedgerClient", "")
	f.Fuzz(func(t *testing.T, name, text, client, service string) {
		cell, err := manifest.NewCell("https://localhost/a/b", "v1")
		if err != nil {
			t.Fatal(err)
		}
		in := Input{
			Files: map[string][]byte{name: []byte(text)}, Interfaces: []string{name}, ImportPath: testPath,
			Cell: manifest.LockedCell{Name: "exchange", Cell: cell, Git: cell.URL(), Fingerprint: strings.Repeat("ab", 32)},
		}
		if client != "" {
			in.Clients = []Client{{Type: client, Service: service}}
		}
		files, err := Generate(in)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			return
		}
		for name, data := range files {
			holdToRules(t, name, data)
		}
	})
}

func holdToRules(t *testing.T, name string, data []byte) {
	f, err := parser.ParseFile(token.NewFileSet(), name, data, parser.ParseComments)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !Generated(data) {
		t.Errorf("%s: does not say that it is generated", name)
	}
	for _, spec := range f.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		known := strings.HasPrefix(p, "google.golang.org/protobuf/") || strings.HasPrefix(p, "google.golang.org/grpc") || strings.HasPrefix(p, module+"/")
		if !known && !strings.Contains(" context math net net/http reflect strings sync time unsafe ", " "+p+" ") {
			t.Errorf("%s: imports %s", name, p)
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			text := strings.TrimPrefix(c.Text, "//")
			if text != "" && text[0] != ' ' && text[0] != '\t' || strings.HasPrefix(text, " +build") || strings.ContainsAny(text, "\r\n") {
				t.Errorf("%s: comment %q", name, c.Text)
			}
		}
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && (fn.Body == nil || fn.Name.Name == "main") {
			t.Errorf("%s: func %s", name, fn.Name.Name)
		}
	}
}
