package manifest

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const compatibleBase = `syntax = "proto3";
package acme.v1;
import "google/protobuf/timestamp.proto";
service Exchange {
  rpc Quote(Request) returns (Reply);
  rpc Ticks(Request) returns (stream Reply);
  rpc Again(Request) returns (Reply) { option idempotency_level = IDEMPOTENT; }
}
enum Side { SIDE_UNSPECIFIED = 0; SIDE_BUY = 1; }
message Request { string symbol = 1; uint32 count = 2; Side side = 3; Nested nested = 4; message Nested { int64 deep = 1; } }
message Reply { repeated int64 prices = 1; google.protobuf.Timestamp at = 2; oneof o { string text = 3; bytes data = 4; } }
`

func compiled(t *testing.T, text string) []protoreflect.FileDescriptor {
	t.Helper()
	d, err := Compile(map[string][]byte{"a.proto": []byte(text)}, []string{"a.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAdditionsBreakNothingAndWhatBreaksIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		breaks   string // lines joined by ;
	}{
		"nothing":               {"", "", ""},
		"method added":          {"  rpc Ticks", "  rpc More(Request) returns (Reply);\n  rpc Ticks", ""},
		"field added":           {"uint32 count = 2;", "uint32 count = 2; string note = 9;", ""},
		"value added":           {"SIDE_BUY = 1;", "SIDE_BUY = 1; SIDE_SELL = 2;", ""},
		"message added":         {"enum Side", "message Other {}\nenum Side", ""},
		"order":                 {"string symbol = 1; uint32 count = 2;", "uint32 count = 2; string symbol = 1;", ""},
		"method gone":           {"  rpc Quote(Request) returns (Reply);\n", "", "method acme.v1.Exchange.Quote is gone"},
		"method renamed":        {"rpc Quote", "rpc Price", "method acme.v1.Exchange.Quote is gone"},
		"service gone":          {"service Exchange", "service Other", "service acme.v1.Exchange is gone"},
		"stream made unary":     {"(stream Reply)", "(Reply)", "method acme.v1.Exchange.Ticks streams otherwise"},
		"input":                 {"rpc Quote(Request)", "rpc Quote(Reply)", "method acme.v1.Exchange.Quote takes acme.v1.Reply instead of acme.v1.Request"},
		"output":                {"rpc Quote(Request) returns (Reply)", "rpc Quote(Request) returns (Request)", "method acme.v1.Exchange.Quote returns acme.v1.Request instead of acme.v1.Reply"},
		"uint32 grown to 64":    {"uint32 count", "uint64 count", "field acme.v1.Request.count is uint64 instead of uint32"},
		"field gone":            {"uint32 count = 2;", "", "field acme.v1.Request.count is gone"},
		"field renamed":         {"uint32 count", "uint32 number", "field acme.v1.Request.count is called number"},
		"field renumbered":      {"count = 2", "count = 9", "field acme.v1.Request.count is gone"},
		"field made optional":   {"uint32 count", "optional uint32 count", "field acme.v1.Request.count is optional, or in a oneof, otherwise than before"},
		"repeated made single":  {"repeated int64", "int64", "field acme.v1.Reply.prices is int64 instead of repeated int64"},
		"nested retyped":        {"int64 deep", "string deep", "field acme.v1.Request.Nested.deep is string instead of int64"},
		"value gone":            {"SIDE_BUY = 1;", "", "value acme.v1.SIDE_BUY is gone"},
		"value renumbered":      {"SIDE_BUY = 1", "SIDE_BUY = 2", "value acme.v1.SIDE_BUY is 2 instead of 1"},
		"out of the oneof":      {"oneof o { string text = 3; bytes data = 4; }", "string text = 3; oneof o { bytes data = 4; }", "field acme.v1.Reply.text is optional, or in a oneof, otherwise than before"},
		"well-known type away":  {"google.protobuf.Timestamp at", "int64 at", "field acme.v1.Reply.at is int64 instead of google.protobuf.Timestamp"},
		"repeatable no more":    {"option idempotency_level = IDEMPOTENT;", "", "method acme.v1.Exchange.Again may not be repeated any more"},
		"more than repeatable":  {"= IDEMPOTENT;", "= NO_SIDE_EFFECTS;", ""},
		"two at once, in order": {"symbol = 1; uint32 count = 2;", "symbol = 1;", "field acme.v1.Request.count is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(compatibleBase, c.old, c.new, 1)
			if changed == compatibleBase && c.old != "" {
				t.Fatal("nothing has changed")
			}
			var want []string
			if c.breaks != "" {
				want = strings.Split(c.breaks, ";")
			}
			if got := Breaking(compiled(t, compatibleBase), compiled(t, changed)); !slices.Equal(got, want) {
				t.Errorf("Breaking is %q, want %q", got, want)
			}
		})
	}
}
