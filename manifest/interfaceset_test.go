package manifest

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

// setOf is the InterfaceSet of one .proto file, and its serialised form.
func setOf(t testing.TB, text string, opaque ...string) (InterfaceSet, []byte) {
	t.Helper()
	files, err := Compile(map[string][]byte{"a.proto": []byte(text)}, []string{"a.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := InterfaceSet{files, opaque}
	data, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return s, data
}

func TestAnInterfaceSetKeepsItsFingerprintOnItsWay(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	was, data := setOf(t, compatibleBase, hash)
	got, err := ParseInterfaceSet(append(data, 0x7a, 1, 0)) // a field of a later version
	if err != nil {
		t.Fatal(err)
	}
	if got.Fingerprint() != was.Fingerprint() {
		t.Error("it has another fingerprint behind the wire")
	}
	if broken := was.Breaking(got); broken != nil {
		t.Errorf("it breaks itself: %q", broken)
	}
	if broken := was.Breaking(InterfaceSet{Files: got.Files}); len(broken) != 1 || !strings.Contains(broken[0], "abababab") {
		t.Errorf("a file that is not protobuf and is gone: %q", broken)
	}
	if (InterfaceSet{}).Fingerprint() != "" {
		t.Error("no interface has a fingerprint")
	}
}

// What is declared under the name of a standard file is not believed: both sides leave its contents out of the
// fingerprint, so it could be anything.
func TestAnInterfaceSetCannotReplaceAStandardFile(t *testing.T) {
	was, _ := setOf(t, compatibleBase)
	var set descriptorpb.FileDescriptorSet
	data, _ := DescriptorSet(was.Files)
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	for _, f := range set.File {
		if f.GetName() == "google/protobuf/timestamp.proto" {
			f.MessageType[0].Field = nil
		}
	}
	forged, _ := proto.Marshal(&set)
	b := protowire.AppendBytes(protowire.AppendTag(nil, setDescriptors, protowire.BytesType), forged)
	b = protowire.AppendString(protowire.AppendTag(b, setFile, protowire.BytesType), "a.proto")
	got, err := ParseInterfaceSet(b)
	if err != nil {
		t.Fatal(err)
	}
	at := got.Files[0].Messages().ByName("Reply").Fields().ByName("at").Message()
	if at.Fields().Len() != 2 {
		t.Errorf("Timestamp has %d fields", at.Fields().Len())
	}
}

// An empty message takes two bytes on the wire and a hundred times that in memory.
func TestAHostileInterfaceSetTakesLittleMemory(t *testing.T) {
	file := bytes.Repeat([]byte{4<<3 | 2, 0}, MaxInterfaceSet/2-64) // message_type, empty
	set := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), file)
	data := protowire.AppendBytes(protowire.AppendTag(nil, setDescriptors, protowire.BytesType), set)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ParseInterfaceSet(data)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "declarations") {
		t.Fatalf("it was taken: %v", err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
		t.Errorf("reading it took %d bytes", took)
	}
	if _, err := ParseInterfaceSet(make([]byte, MaxInterfaceSet+1)); err == nil {
		t.Error("one above the limit was taken")
	}
}

// Files that import each other crosswise are looked at once each, or this would not end.
func TestCrosswiseImportsAreComparedOnce(t *testing.T) {
	set := &descriptorpb.FileDescriptorSet{}
	var last []string
	for layer := range 40 {
		var names []string
		for _, side := range []string{"a", "b"} {
			name := side + strings.Repeat("x", layer) + ".proto"
			set.File = append(set.File, &descriptorpb.FileDescriptorProto{Name: proto.String(name), Dependency: last})
			names = append(names, name)
		}
		last = names
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		t.Fatal(err)
	}
	top, err := files.FindFileByPath(last[0])
	if err != nil {
		t.Fatal(err)
	}
	if broken := Breaking(compiled(t, compatibleBase), append(compiled(t, compatibleBase), top)); broken != nil {
		t.Errorf("breaks %q", broken)
	}
}

func FuzzParseInterfaceSet(f *testing.F) {
	_, base := setOf(f, compatibleBase, strings.Repeat("ab", 32))
	_, grown := setOf(f, `syntax = "proto2"; package a; message M { required int32 n = 1 [default = 3]; extensions 100 to 200; }
extend M { optional string x = 100; } enum E { A = 0; } service S { rpc Do(M) returns (stream M); }`)
	f.Add(base)
	f.Add(grown)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseInterfaceSet(data)
		if err != nil {
			return
		}
		print := s.Fingerprint()
		if broken := s.Breaking(s); broken != nil && len(s.Files) == 1 {
			t.Errorf("it breaks itself: %q", broken)
		}
		again, err := s.Marshal()
		if err != nil {
			return // it has grown above the limit by the standard files that it imports
		}
		back, err := ParseInterfaceSet(again)
		if err != nil || back.Fingerprint() != print {
			t.Errorf("read again: %v, fingerprint %s, was %s", err, back.Fingerprint(), print)
		}
	})
}
