package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

const exchangeProto = `
syntax = "proto3";
package acme.exchange.v1;
import "google/protobuf/timestamp.proto";
import "common.proto";
option go_package = "example.org/x";

// Exchange quotes and takes orders.
service Exchange {
  rpc Quote(QuoteRequest) returns (QuoteReply) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Stream(stream Order) returns (stream Fill);
}
message QuoteRequest { string symbol = 1; optional int32 depth = 2; }
message QuoteReply {
  repeated double bids = 1;
  map<string, Money> fees = 2;
  google.protobuf.Timestamp at = 3;
  oneof size { int64 lots = 4; string text = 5; }
}
enum Side { SIDE_UNSPECIFIED = 0; SIDE_BUY = 1; SIDE_SELL = 2; }
message Order { Side side = 1; Money price = 2; message Note { string text = 1; } }
message Fill { bytes raw = 1 [json_name = "raw"]; }
`

const commonProto = `
syntax = "proto3";
package acme.exchange.v1;
message Money { string currency = 1; int64 units = 2; Scale scale = 3; }
enum Scale { SCALE_ONE = 0; SCALE_MILLI = 1; }
message Unused { string never = 1; }
`

func exchangeFiles() map[string][]byte {
	return map[string][]byte{"proto/exchange.proto": []byte(exchangeProto), "proto/common.proto": []byte(commonProto)}
}

var exchangeInterface = []string{"proto/exchange.proto"}

func mustFingerprint(t testing.TB, files map[string][]byte, interfaces, roots []string) string {
	t.Helper()
	f, err := Fingerprint(files, interfaces, roots)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// The text and its hash stand in every Cell.lock. They may not change.
func TestInterfaceTextIsFrozen(t *testing.T) {
	descriptors, err := Compile(exchangeFiles(), exchangeInterface, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := interfaceText(descriptors, nil), string(readTestdata(t, "interface.txt")); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const want = "1cb5d9bedb0afef77954007f04853fc7dd11978f8d0eba1f1975bed54635819a"
	if got := mustFingerprint(t, exchangeFiles(), exchangeInterface, nil); got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
	if FingerprintFiles(descriptors) != want {
		t.Error("FingerprintFiles differs from Fingerprint")
	}
}

func TestWhatDoesNotMatter(t *testing.T) {
	want := mustFingerprint(t, exchangeFiles(), exchangeInterface, nil)
	for name, change := range map[string]func(map[string][]byte){
		"comments":         replace("proto/exchange.proto", "// Exchange quotes and takes orders.", "/* something { else */"),
		"file options":     replace("proto/exchange.proto", `"example.org/x"`, `"example.org/y"; option java_package = "x"`),
		"no file options":  replace("proto/exchange.proto", `option go_package = "example.org/x";`, ""),
		"json_name":        replace("proto/exchange.proto", `json_name = "raw"`, `json_name = "RAW"`),
		"deprecation":      replace("proto/exchange.proto", "string symbol = 1", "string symbol = 1 [deprecated = true]"),
		"order of fields":  replace("proto/exchange.proto", "string symbol = 1; optional int32 depth = 2;", "optional int32 depth = 2; string symbol = 1;"),
		"order of values":  replace("proto/exchange.proto", "SIDE_BUY = 1; SIDE_SELL = 2;", "SIDE_SELL = 2; SIDE_BUY = 1;"),
		"reserved":         replace("proto/exchange.proto", "message Fill {", "message Fill { reserved 9;"),
		"what is not used": replace("proto/common.proto", "string never = 1", "string other = 1"),
		"whitespace":       replace("proto/common.proto", "; ", ";\n\n\t"),
	} {
		files := exchangeFiles()
		change(files)
		if got := mustFingerprint(t, files, exchangeInterface, nil); got != want {
			t.Errorf("%s change the fingerprint", name)
		}
	}
}

// Where the files lie, and by what names they import each other, is not part of the interface.
func TestPathsDoNotMatter(t *testing.T) {
	want := mustFingerprint(t, exchangeFiles(), exchangeInterface, nil)
	moved := map[string][]byte{
		"api/v1/ex.proto":            []byte(strings.Replace(exchangeProto, `"common.proto"`, `"shared/common.proto"`, 1)),
		"api/v1/shared/common.proto": []byte(commonProto),
	}
	rooted := map[string][]byte{
		"api/ex.proto":     []byte(strings.Replace(exchangeProto, `"common.proto"`, `"api/common.proto"`, 1)),
		"api/common.proto": []byte(commonProto),
	}
	for name, got := range map[string]string{
		"beside, no roots":     mustFingerprint(t, moved, []string{"api/v1/ex.proto"}, nil),
		"beside, root written": mustFingerprint(t, moved, []string{"api/v1/ex.proto"}, []string{"api/v1"}),
		"from the root":        mustFingerprint(t, rooted, []string{"api/ex.proto"}, nil),
		"root written as .":    mustFingerprint(t, rooted, []string{"api/ex.proto"}, []string{"."}),
	} {
		if got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	both := []string{"proto/exchange.proto", "proto/common.proto"}
	a := mustFingerprint(t, exchangeFiles(), both, nil)
	slices.Reverse(both)
	if b := mustFingerprint(t, exchangeFiles(), both, []string{"proto"}); a != b || a == want {
		t.Errorf("two interface files: %s, reversed %s, one alone %s", a, b, want)
	}
}

func TestWhatMatters(t *testing.T) {
	seen := map[string]string{mustFingerprint(t, exchangeFiles(), exchangeInterface, nil): "the original"}
	for name, change := range map[string]func(map[string][]byte){
		"field name":       replace("proto/exchange.proto", "string symbol = 1", "string ticker = 1"),
		"field number":     replace("proto/exchange.proto", "string symbol = 1", "string symbol = 7"),
		"field kind":       replace("proto/exchange.proto", "string symbol = 1", "bytes symbol = 1"),
		"same wire kind":   replace("proto/exchange.proto", "optional int32 depth", "optional uint32 depth"),
		"presence":         replace("proto/exchange.proto", "optional int32 depth", "int32 depth"),
		"cardinality":      replace("proto/exchange.proto", "string symbol = 1", "repeated string symbol = 1"),
		"new field":        replace("proto/exchange.proto", "string symbol = 1;", "string symbol = 1; bool live = 3;"),
		"gone field":       replace("proto/exchange.proto", "string symbol = 1;", ""),
		"out of the oneof": replace("proto/exchange.proto", "oneof size { int64 lots = 4; string text = 5; }", "int64 lots = 4; oneof size { string text = 5; }"),
		"oneof name":       replace("proto/exchange.proto", "oneof size", "oneof amount"),
		"map key":          replace("proto/exchange.proto", "map<string, Money>", "map<int32, Money>"),
		"enum value":       replace("proto/exchange.proto", "SIDE_SELL = 2", "SIDE_SELL = 3"),
		"enum value name":  replace("proto/exchange.proto", "SIDE_SELL", "SIDE_ASK"),
		"new enum value":   replace("proto/exchange.proto", "SIDE_SELL = 2;", "SIDE_SELL = 2; SIDE_SHORT = 3;"),
		"method name":      replace("proto/exchange.proto", "rpc Quote(", "rpc Ask("),
		"method input":     replace("proto/exchange.proto", "rpc Quote(QuoteRequest)", "rpc Quote(Order)"),
		"client streaming": replace("proto/exchange.proto", "rpc Stream(stream Order)", "rpc Stream(Order)"),
		"server streaming": replace("proto/exchange.proto", "returns (stream Fill)", "returns (Fill)"),
		"idempotency":      replace("proto/exchange.proto", "NO_SIDE_EFFECTS", "IDEMPOTENT"),
		"no idempotency":   replace("proto/exchange.proto", "option idempotency_level = NO_SIDE_EFFECTS;", ""),
		"service name":     replace("proto/exchange.proto", "service Exchange", "service Bourse"),
		"package":          replaceBoth("acme.exchange.v1", "acme.exchange.v2"),
		"imported message": replace("proto/common.proto", "int64 units = 2", "int32 units = 2"),
		"imported enum":    replace("proto/common.proto", "SCALE_MILLI = 1", "SCALE_MICRO = 1"),
		"nested message":   replace("proto/exchange.proto", "message Note { string text = 1; }", "message Note { string body = 1; }"),
		"standard type":    replace("proto/exchange.proto", "google.protobuf.Timestamp at", "Money at"),
	} {
		files := exchangeFiles()
		change(files)
		got := mustFingerprint(t, files, exchangeInterface, nil)
		if was, ok := seen[got]; ok {
			t.Errorf("%s has the fingerprint of %s", name, was)
		}
		seen[got] = name
	}
}

func TestProto2Matters(t *testing.T) {
	const base = `syntax = "proto2"; package a; message M { optional int32 x = 1 [default = 5]; optional E e = 2; extensions 100 to 200; }
		enum E { A = 1; B = 2; } extend M { optional string tag = 100; }`
	seen := map[string]string{}
	for name, text := range map[string]string{
		"base":      base,
		"default":   strings.Replace(base, "default = 5", "default = 6", 1),
		"first":     strings.Replace(base, "A = 1; B = 2;", "B = 2; A = 1;", 1),
		"required":  strings.Replace(base, "optional int32", "required int32", 1),
		"extension": strings.Replace(base, "string tag", "bytes tag", 1),
	} {
		got := mustFingerprint(t, map[string][]byte{"a.proto": []byte(text)}, []string{"a.proto"}, nil)
		if was, ok := seen[got]; ok {
			t.Errorf("%s has the fingerprint of %s", name, was)
		}
		seen[got] = name
	}
}

func TestInterfacesThatAreNotProtobuf(t *testing.T) {
	a := map[string][]byte{"api.json": []byte("{}"), "b.txt": []byte("b")}
	b := map[string][]byte{"moved/api.json": []byte("{}"), "b.txt": []byte("c")}
	if mustFingerprint(t, a, []string{"api.json"}, nil) != mustFingerprint(t, b, []string{"moved/api.json"}, nil) {
		t.Error("the path matters")
	}
	if mustFingerprint(t, a, []string{"api.json", "b.txt"}, nil) == mustFingerprint(t, b, []string{"moved/api.json", "b.txt"}, nil) {
		t.Error("the content does not matter")
	}
	if got := mustFingerprint(t, a, nil, nil); got != "" {
		t.Errorf("no interface has the fingerprint %q", got)
	}
}

// What a live server tells of itself, without comments and in its own order, has the fingerprint of the source.
func TestDescriptorSetHasTheFingerprintOfItsSource(t *testing.T) {
	descriptors, err := Compile(exchangeFiles(), exchangeInterface, nil)
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	addFile(&set, descriptors[0], map[string]bool{})
	slices.Reverse(set.File)
	for _, f := range set.File {
		f.SourceCodeInfo, f.Options = nil, nil
	}
	data, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	want := mustFingerprint(t, exchangeFiles(), exchangeInterface, nil)
	got, err := FingerprintSet(data, []string{descriptors[0].Path()})
	if err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	for _, bad := range [][]byte{{0xff}, data[:len(data)/2]} {
		if _, err := FingerprintSet(bad, nil); err == nil {
			t.Error("a broken descriptor set has a fingerprint")
		}
	}
}

// What publish puts into Cell.json is read by itself, and has the same fingerprint.
func TestPublishedDescriptorSetHasTheFingerprintOfItsSource(t *testing.T) {
	descriptors, err := Compile(exchangeFiles(), exchangeInterface, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := DescriptorSet(descriptors)
	if err != nil {
		t.Fatal(err)
	}
	want := mustFingerprint(t, exchangeFiles(), exchangeInterface, nil)
	if got, err := FingerprintSet(data, []string{descriptors[0].Path()}); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	if data, err := DescriptorSet(nil); data != nil || err != nil {
		t.Errorf("of no files: %d bytes, %v", len(data), err)
	}
}

func addFile(set *descriptorpb.FileDescriptorSet, d protoreflect.FileDescriptor, seen map[string]bool) {
	if seen[d.Path()] {
		return
	}
	seen[d.Path()] = true
	for i := range d.Imports().Len() {
		addFile(set, d.Imports().Get(i).FileDescriptor, seen)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(d))
}

func TestInterfaceFilesReadsWhatIsImportedAndNothingElse(t *testing.T) {
	repository := exchangeFiles()
	repository["proto/other.proto"] = []byte("syntax = \"proto3\";")
	repository["Cell.toml"] = nil
	var read []string
	files, err := InterfaceFiles(exchangeInterface, nil, func(path string) ([]byte, error) {
		read = append(read, path)
		if data, ok := repository[path]; ok {
			return data, nil
		}
		return nil, fs.ErrNotExist
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(files)); !slices.Equal(got, []string{"proto/common.proto", "proto/exchange.proto"}) {
		t.Errorf("files %q", got)
	}
	if want := []string{"proto/exchange.proto", "common.proto", "proto/common.proto"}; !slices.Equal(read, want) {
		t.Errorf("read %q, want %q", read, want)
	}
	if mustFingerprint(t, files, exchangeInterface, nil) != mustFingerprint(t, repository, exchangeInterface, nil) {
		t.Error("what was read is another interface")
	}
}

func TestInterfaceFilesRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`import "../secret.proto";`:        `import "../secret.proto": manifest: path "../secret.proto": leaves the repository`,
		`import "/etc/passwd";`:            "is absolute",
		`import "-x.proto";`:               "begins with -",
		`import "absent.proto";`:           `a.proto: import "absent.proto" is in none of the import roots [.]; set import_roots`,
		`import;`:                          "a.proto:1:7: syntax error",
		`message A {`:                      "syntax error",
		long("message A {", 70):            "is nested deeper than 64",
		"package " + long("a.", 70) + "a;": "is nested deeper than 64",
		long(" ", MaxInterfaceLine+1):      "a.proto: has a line of 16385 bytes",
		long("\n", MaxInterfaceSize+1):     "an interface file has at most 1048576",
	} {
		_, err := InterfaceFiles([]string{"a.proto"}, nil, func(path string) ([]byte, error) {
			if path == "a.proto" {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	broken := errors.New("disk on fire")
	if _, err := InterfaceFiles([]string{"a.proto"}, nil, func(string) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// A chain of imports without end, and one that goes in a circle.
func TestInterfaceFilesEnds(t *testing.T) {
	i := 0
	_, err := InterfaceFiles([]string{"a.proto"}, nil, func(string) ([]byte, error) {
		i++
		return fmt.Appendf(nil, `import "a%d.proto";`, i), nil
	})
	if err == nil || !strings.Contains(err.Error(), "is one file too many") {
		t.Errorf("%v", err)
	}
	files, err := InterfaceFiles([]string{"a.proto"}, nil, func(string) ([]byte, error) { return []byte(`import "a.proto";`), nil })
	if err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestCompileRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string][]byte
		roots []string
		want  string
	}{
		"syntax":         {files: map[string][]byte{"a.proto": []byte("syntax = \"proto3\";\nmessage {}")}, want: "a.proto:2:9: syntax error"},
		"missing type":   {files: map[string][]byte{"a.proto": []byte("syntax = \"proto3\"; message A { B b = 1; }")}, want: "unknown type B"},
		"missing import": {files: map[string][]byte{"a.proto": []byte("import \"b.proto\";")}, want: "b.proto"},
		"circle":         {files: map[string][]byte{"a.proto": []byte("import \"a.proto\";")}, want: "cycle"},
		"outside roots":  {files: map[string][]byte{"a.proto": nil}, roots: []string{"proto"}, want: "lies in none of the import roots [proto]"},
		"methods": {files: map[string][]byte{"a.proto": []byte("syntax = \"proto3\"; message M {} service S {" +
			numbered("rpc R%d(M) returns (M);\n", MaxMethods+1) + "}")}, want: "interface has 4097 methods"},
		"fields": {files: map[string][]byte{"a.proto": []byte("syntax = \"proto3\"; message M {" +
			numbered("int32 f%d = %[1]d;\n", MaxFields+1) + "}")}, want: "message M has 4097 fields"},
		"depth": {
			files: map[string][]byte{"a.proto": []byte("syntax = \"proto3\";" + long("message M {", MaxDepth+1) + long("}", MaxDepth+1))},
			want:  "nesting depth must be less than 32",
		},
		"replaced standard file": {files: map[string][]byte{
			"a.proto":                         []byte("syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; message M { google.protobuf.Evil t = 1; }"),
			"google/protobuf/timestamp.proto": []byte("syntax = \"proto3\"; package google.protobuf; message Evil {}"),
		}, want: "unknown type google.protobuf.Evil"},
	} {
		_, err := Fingerprint(tt.files, []string{"a.proto"}, tt.roots)
		if err == nil || !strings.HasPrefix(err.Error(), "manifest: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if _, err := Fingerprint(nil, []string{"a.proto"}, nil); err == nil {
		t.Error("an absent file has a fingerprint")
	}
}

// A chain of messages longer than any stack should be asked to hold.
func TestLongChainsOfMessages(t *testing.T) {
	var b strings.Builder
	b.WriteString("syntax = \"proto3\"; message M0 {}")
	for i := range 20000 {
		fmt.Fprintf(&b, "message M%d { M%d next = 1; }\n", i+1, i)
	}
	mustFingerprint(t, map[string][]byte{"a.proto": []byte(b.String())}, []string{"a.proto"}, nil)
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i+1)
	}
	return b.String()
}

func replace(file, old, new string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		text := string(files[file])
		if !strings.Contains(text, old) {
			panic("test: " + file + " does not contain " + old)
		}
		files[file] = []byte(strings.ReplaceAll(text, old, new))
	}
}

func replaceBoth(old, new string) func(map[string][]byte) {
	return func(files map[string][]byte) {
		replace("proto/exchange.proto", old, new)(files)
		replace("proto/common.proto", old, new)(files)
	}
}

func FuzzFingerprint(f *testing.F) {
	f.Add([]byte(exchangeProto))
	f.Add([]byte(commonProto))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := map[string][]byte{"a.proto": data, "common.proto": []byte(commonProto)}
		a, err := Fingerprint(files, []string{"a.proto"}, nil)
		if err != nil {
			return
		}
		if b, err := Fingerprint(files, []string{"a.proto"}, []string{"."}); err != nil || a != b {
			t.Fatalf("%s, then %s, %v", a, b, err)
		}
	})
}
