package codegen

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// testPath is where the packages of these tests lie as far as the compiler is concerned.
const testPath = module + "/codegen/generatedtest"

// input is an interface of these files, all of them interface files. print is its fingerprint.
func input(t testing.TB, files map[string]string, clients ...Client) Input {
	t.Helper()
	cell, err := manifest.NewCell("https://cell-hub.acme.com/acme/exchange", "v1.3.0")
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Files: map[string][]byte{}, ImportPath: testPath, Clients: clients, Cell: manifest.LockedCell{Name: "exchange", Cell: cell, Git: cell.URL()}}
	for name, text := range files {
		in.Files[name] = []byte(text)
	}
	in.Interfaces = slices.Sorted(maps.Keys(in.Files))
	if in.Cell.Fingerprint, err = manifest.Fingerprint(in.Files, in.Interfaces, nil); err != nil {
		t.Fatal(err)
	}
	return in
}

func generate(t testing.TB, in Input) map[string][]byte {
	t.Helper()
	files, err := Generate(in)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// compile compiles generated files, and those of a package main beside them, where testPath says. Nothing is written into
// the tree: the go command is told to see them there. It returns what the compiler says, "" if it is content.
func compile(t *testing.T, files map[string][]byte, program string) string {
	t.Helper()
	dir, err := filepath.Abs("generatedtest")
	if err != nil {
		t.Fatal(err)
	}
	scratch := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	put := func(at string, data []byte) {
		path := filepath.Join(scratch, strings.ReplaceAll(at, "/", "!"))
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(dir, filepath.FromSlash(at))] = path
	}
	for name, data := range files {
		put(name, data)
	}
	if program != "" {
		put("program/main.go", []byte(program))
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	packages := []string{testPath}
	for name := range files {
		if folder := filepath.Dir(name); folder != "." {
			packages = append(packages, testPath+"/"+filepath.ToSlash(folder))
		}
	}
	if program != "" {
		packages = append(packages, testPath+"/program")
	}
	slices.Sort(packages)
	args := append([]string{"build", "-overlay", path}, slices.Compact(packages)...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.CombinedOutput()
	if (err != nil) != (len(out) > 0) {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return string(out)
}

const exchangeProto = `syntax = "proto3";
package acme.v1;
service Exchange {
  rpc Quote(QuoteRequest) returns (QuoteReply) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Submit(SubmitRequest) returns (QuoteReply);
  rpc Ticks(QuoteRequest) returns (stream QuoteReply);
  rpc Upload(stream SubmitRequest) returns (QuoteReply);
  rpc Trade(stream SubmitRequest) returns (stream QuoteReply);
}
message QuoteRequest { string symbol = 1; }
message QuoteReply { int64 price = 1; }
message SubmitRequest { string symbol = 1; uint32 count = 2; }
`

const program = `package main

import (
	"context"

	exchange "` + testPath + `"
)

func main() {
	ctx := context.Background()
	cc, err := exchange.Dial(ctx)
	if err != nil {
		panic(err)
	}
	var c exchange.ExchangeClient = exchange.NewExchangeClient(cc)
	reply, err := c.Quote(ctx, &exchange.QuoteRequest{Symbol: "ACME"})
	if err != nil || reply.GetPrice() == 0 {
		panic(err)
	}
	_, _ = c.Submit(ctx, &exchange.SubmitRequest{Count: 100})
	ticks, _ := c.Ticks(ctx, &exchange.QuoteRequest{})
	_, _ = ticks.Recv()
	upload, _ := c.Upload(ctx)
	_ = upload.Send(&exchange.SubmitRequest{})
	_, _ = upload.CloseAndRecv()
	trade, _ := c.Trade(ctx)
	_ = trade.Send(&exchange.SubmitRequest{})
	_, _ = trade.Recv()
}
`

func TestAClientOfEveryKindOfCallCompiles(t *testing.T) {
	files := generate(t, input(t, map[string]string{"exchange.proto": exchangeProto}, Client{Type: "ExchangeClient"}))
	if out := compile(t, files, program); out != "" {
		t.Errorf("the compiler says:\n%s", out)
	}
	if again := generate(t, input(t, map[string]string{"exchange.proto": exchangeProto}, Client{Type: "ExchangeClient"})); !maps.EqualFunc(files, again, slices.Equal) {
		t.Error("generated twice, the bytes differ")
	}
}

// What the interface loses or changes, the compiler names in the program that uses it.
func TestTheCompilerRefusesAProgramThatTheInterfaceNoLongerFits(t *testing.T) {
	for name, c := range map[string]struct{ old, new, says string }{
		"method removed":    {"  rpc Submit(SubmitRequest) returns (QuoteReply);\n", "", "c.Submit undefined"},
		"method renamed":    {"rpc Submit(", "rpc Place(", "c.Submit undefined"},
		"field removed":     {"uint32 count = 2;", "", "unknown field Count in struct literal"},
		"argument retyped":  {"rpc Submit(SubmitRequest)", "rpc Submit(QuoteRequest)", "cannot use &exchange.SubmitRequest"},
		"field retyped":     {"string symbol = 1; }\nmessage QuoteReply", "int32 symbol = 1; }\nmessage QuoteReply", `cannot use "ACME"`},
		"stream made unary": {"returns (stream QuoteReply);\n  rpc Upload", "returns (QuoteReply);\n  rpc Upload", "ticks.Recv undefined"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(exchangeProto, c.old, c.new, 1)
			if changed == exchangeProto {
				t.Fatal("nothing has changed")
			}
			out := compile(t, generate(t, input(t, map[string]string{"exchange.proto": changed}, Client{Type: "ExchangeClient"})), program)
			if !strings.Contains(out, c.says) {
				t.Errorf("the compiler says %q, want %q in it", out, c.says)
			}
		})
	}
}

// A field that grows from uint32 to uint64 takes every constant that it took before, so the types let it pass. The
// package beside a lock of the new interface does not.
func TestAStaleClientIsRefusedAlsoWhereTypesWouldLetItPass(t *testing.T) {
	files := generate(t, input(t, map[string]string{"exchange.proto": exchangeProto}, Client{Type: "ExchangeClient"}))
	grown := input(t, map[string]string{"exchange.proto": strings.Replace(exchangeProto, "uint32 count", "uint64 count", 1)})
	if out := compile(t, generate(t, grown), program); out != "" {
		t.Fatalf("types alone should not see it:\n%s", out)
	}
	files["lock.go"] = LockFile("generatedtest", grown.Cell)
	out := compile(t, files, program)
	want := "lock.go:7:11: undefined: stale_run_cellnode_remote_for_interface_" + grown.Cell.Fingerprint[:12]
	if !strings.Contains(out, want) {
		t.Errorf("the compiler says %q, want %q", out, want)
	}
	if info, ok := ReadLockFile(files["lock.go"]); !ok || info != (LockInfo{Package: "generatedtest", Cell: "exchange"}) {
		t.Errorf("lock.go is read as %+v, %v", info, ok)
	}
}

func TestEveryShapeOfInterfaceCompiles(t *testing.T) {
	if testing.Short() {
		t.Skip("many compilations")
	}
	const other = "syntax = \"proto3\"; package acme.common.v1; message Money { int64 units = 1; }"
	for name, files := range map[string]map[string]string{
		"packages in folders of their own": {
			"acme/v1/a.proto":      `syntax = "proto3"; package acme.v1; import "acme/common.proto"; import "google/protobuf/timestamp.proto"; service A { rpc Get(acme.common.v1.Money) returns (google.protobuf.Timestamp); }`,
			"acme/common.proto":    other,
			"acme/other/b.proto":   `syntax = "proto3"; package b; import "acme/common.proto"; message B { acme.common.v1.Money money = 1; }`,
			"acme/other/v2/c.prot": "not a protobuf file",
		},
		"packages that import each other": {
			"x1.proto": `syntax = "proto3"; package x; message X { string s = 1; }`,
			"y1.proto": `syntax = "proto3"; package y; import "x1.proto"; message Y { x.X x = 1; }`,
			"x2.proto": `syntax = "proto3"; package x; import "x1.proto"; import "y1.proto"; service S { rpc Do(y.Y) returns (X); }`,
		},
		"no package, proto2, extensions, defaults": {
			"old.proto": `syntax = "proto2"; message M { required int32 a = 1 [default = 7]; optional double d = 2 [default = inf]; extensions 100 to 200; extend M { optional string nested = 101; } optional group G = 3 { optional bytes b = 4; } } extend M { optional string note = 100; } enum E { ZERO = 0; } service S { rpc Do(M) returns (M); }`,
		},
		"editions":                   {"e.proto": `edition = "2023"; package e.v1; message M { int32 a = 1; repeated string s = 2; map<string, M> m = 3; oneof o { int32 x = 4; string y = 5; } } service S { rpc Do(M) returns (M); }`},
		"go_package hostile":         {"h.proto": `syntax = "proto3"; package h; option go_package = "\"; import \"os/exec\"\nfunc init() { exec.Command(\"sh\") }//;main"; message M {} service S { rpc Do(M) returns (M); }`},
		"names of our own":           {"n.proto": `syntax = "proto3"; package n; message Dial {} message Cell {} message Fingerprint {} message CellDial {} message Types {} service Register { rpc Init(Dial) returns (Cell); }`},
		"Go keywords":                {"k.proto": `syntax = "proto3"; package type.func; message range { string type = 1; string func = 2; } message string_ {} service select { rpc go(range) returns (string_); rpc defer(stream range) returns (stream range); }`},
		"files named after a system": {"a_linux.proto": `syntax = "proto3"; package s; message A {}`, "a_windows_arm64.proto": `syntax = "proto3"; package s; message B {}`, "c_test.proto": `syntax = "proto3"; package s; message C {}`},
		"files of one name":          {"a/x.proto": `syntax = "proto3"; package s; message A {}`, "b/x.proto": `syntax = "proto3"; package s; message B {}`},
		"a service called Client":    {"c.proto": `syntax = "proto3"; package c; message M {} service Client { rpc Do(M) returns (M); } service context { rpc grpc(M) returns (M); }`},
		"well-known types": {"w.proto": `syntax = "proto3"; package w;
			import "google/protobuf/any.proto"; import "google/protobuf/api.proto"; import "google/protobuf/descriptor.proto";
			import "google/protobuf/duration.proto"; import "google/protobuf/empty.proto"; import "google/protobuf/field_mask.proto";
			import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto";
			message M { google.protobuf.Any a = 1; google.protobuf.Api b = 2; google.protobuf.FileOptions c = 3; google.protobuf.Duration d = 4;
			google.protobuf.FieldMask e = 5; google.protobuf.Struct f = 6; google.protobuf.Timestamp g = 7; google.protobuf.StringValue h = 8; }
			service S { rpc Do(google.protobuf.Empty) returns (M); }`},
		"no service":             {"m.proto": `syntax = "proto3"; package m; message M {}`},
		"no protobuf at all":     {"api.json": `{"openapi": "3.1.0"}`},
		"directives in comments": {"d.proto": "//go:embed x\n// +build ignore\nsyntax = \"proto3\"; package d;\n//go:linkname a b\nmessage M { //line x:1\n string a = 1; }"},
		"deprecated":             {"d.proto": `syntax = "proto3"; package d; option deprecated = true; message M { option deprecated = true; string a = 1 [deprecated = true]; } service S { option deprecated = true; rpc Do(M) returns (M) { option deprecated = true; } }`},
	} {
		t.Run(name, func(t *testing.T) {
			if out := compile(t, generate(t, input(t, files)), ""); out != "" {
				t.Errorf("the compiler says:\n%s", out)
			}
		})
	}
}

func TestBadInterfacesAreRefusedInOneLine(t *testing.T) {
	two := `syntax = "proto3"; package t; message M {} service A { rpc Do(M) returns (M); } service B { rpc Do(M) returns (M); }`
	for name, c := range map[string]struct {
		files   map[string]string
		clients []Client
		says    string
	}{
		"several services":      {map[string]string{"t.proto": two}, []Client{{Type: "Foo"}}, "choose with Foo=exchange:SERVICE, one of t.A, t.B"},
		"unknown service":       {map[string]string{"t.proto": two}, []Client{{Type: "Foo", Service: "C"}}, `no service "C"; it has t.A, t.B`},
		"one service two types": {map[string]string{"t.proto": two}, []Client{{Type: "Foo", Service: "A"}, {Type: "Bar", Service: "A"}}, "Foo and Bar are both asked for"},
		"type not exported":     {map[string]string{"t.proto": two}, []Client{{Type: "foo", Service: "A"}}, "no name of an exported Go type"},
		"type not ASCII":        {map[string]string{"t.proto": two}, []Client{{Type: "Fоо", Service: "A"}}, "no name of an exported Go type"},
		"type of a message":     {map[string]string{"t.proto": two}, []Client{{Type: "M", Service: "A"}}, "two Go declarations of M"},
		"names that meet":       {map[string]string{"t.proto": `syntax = "proto3"; package t; message foo_bar {} message FooBar {}`}, nil, "two Go declarations of FooBar"},
		"message like a stub":   {map[string]string{"t.proto": `syntax = "proto3"; package t; message AClient {} service A { rpc Do(AClient) returns (AClient); }`}, nil, "two Go declarations of AClient"},
		"no service to call":    {map[string]string{"t.proto": `syntax = "proto3"; package t; message M {}`}, []Client{{Type: "Foo"}}, "has no service"},
		"path with a space":     {map[string]string{"a b.proto": two}, nil, "only letters, digits"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Generate(input(t, c.files, c.clients...))
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%d files and %v, want %q in one line", len(files), err, c.says)
			}
		})
	}
}

// large is an interface of 200 files with five methods each.
func large() map[string]string {
	files := map[string]string{"common.proto": `syntax = "proto3"; package big.v1; message Common { string id = 1; int64 at = 2; }`}
	for i := range 199 {
		var b strings.Builder
		fmt.Fprintf(&b, "syntax = \"proto3\";\npackage big.v1;\nimport \"common.proto\";\nservice S%d {\n", i)
		for m := range 5 + i/194 {
			fmt.Fprintf(&b, "  rpc Call%d(Request%d) returns (Reply%d);\n", m, i, i)
		}
		fmt.Fprintf(&b, "}\nmessage Request%d { Common common = 1; repeated string names = 2; map<string, int64> counts = 3; }\nmessage Reply%d { oneof result { string text = 1; bytes data = 2; } }\n", i, i)
		files[fmt.Sprintf("file%d.proto", i)] = b.String()
	}
	return files
}

// How long it takes is BenchmarkGenerate's to say.
func TestAThousandMethodsAreGenerated(t *testing.T) {
	methods := 0
	for _, data := range generate(t, input(t, large())) {
		methods += strings.Count(string(data), "_FullMethodName = ")
	}
	if methods < 1000 {
		t.Errorf("%d methods, want 1000", methods)
	}
}

func BenchmarkGenerate(b *testing.B) {
	for name, files := range map[string]map[string]string{"small": {"exchange.proto": exchangeProto}, "large": large()} {
		in := input(b, files)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				generate(b, in)
			}
		})
	}
}

func TestAPolicyIsWrittenAsTheClientReadsIt(t *testing.T) {
	for limit, want := range map[time.Duration]string{0: "MaxLatency: -1,", 500 * time.Millisecond: "MaxLatency: 500 * time.Millisecond,"} {
		in := input(t, map[string]string{"exchange.proto": exchangeProto})
		in.Policy.MaxLatency, in.Policy.Share = &limit, limit > 0
		text := strings.Join(strings.Fields(string(generate(t, in)["cell.go"])), " ")
		if !strings.Contains(text, want) || strings.Contains(text, `"time"`) != (limit > 0) || strings.Contains(text, "Share: true,") != in.Policy.Share {
			t.Errorf("a limit of %v is not written as %s, or share is not as set: %s", limit, want, text)
		}
	}
}
