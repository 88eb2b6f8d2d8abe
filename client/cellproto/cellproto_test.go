package cellproto

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

func file(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	f, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("shared.proto"), Package: proto.String("shared"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("Money")}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var runs int // of the test below in this process, whose registries last as long as it

func TestTwoPackagesMayHoldTheSameFile(t *testing.T) {
	runs++
	a, b := fmt.Sprintf("example.com/a%d", runs), fmt.Sprintf("example.com/b%d", runs)
	for _, pkg := range []string{a, b} {
		r, f := In(pkg), file(t)
		if r != In(pkg) {
			t.Fatal("a package has two registries")
		}
		if err := r.RegisterFile(f); err != nil {
			t.Fatal(err)
		}
		if err := r.RegisterMessage(dynamicpb.NewMessageType(f.Messages().Get(0))); err != nil {
			t.Fatal(err)
		}
		m, err := r.FindMessageByURL("type.googleapis.com/shared.Money")
		if err != nil || m.Descriptor() != f.Messages().Get(0) {
			t.Errorf("%s finds %v, %v", pkg, m, err)
		}
	}
	if _, err := protoregistry.GlobalFiles.FindFileByPath("shared.proto"); err == nil {
		t.Error("the whole program knows the file")
	}
	if err := In(a).RegisterFile(file(t)); err == nil {
		t.Error("one package holds it twice")
	}
}

func TestWhatIsNotThePackagesOwnIsFoundInTheProgram(t *testing.T) {
	r := In("example.com/empty")
	if _, err := r.FindFileByPath("google/protobuf/descriptor.proto"); err != nil {
		t.Error(err)
	}
	if _, err := r.FindDescriptorByName("google.protobuf.FileOptions"); err != nil {
		t.Error(err)
	}
	if _, err := r.FindMessageByName("google.protobuf.FileOptions"); err != nil {
		t.Error(err)
	}
}
