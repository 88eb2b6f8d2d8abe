package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Fingerprint names an interface: the SHA-256, in hex, of its canonical text (see FingerprintFiles). Equal fingerprints
// are equal interfaces. Interface files that are not protobuf count with their hash. A cell that declares no interface
// has the fingerprint "". For files and importRoots see Compile.
func Fingerprint(files map[string][]byte, interfaces, importRoots []string) (string, error) {
	if len(interfaces) == 0 {
		return "", nil
	}
	set, err := CompileSet(files, interfaces, importRoots)
	if err != nil {
		return "", err
	}
	return set.Fingerprint(), nil
}

// FingerprintFiles is Fingerprint of compiled interface files. The text it hashes has one line for each service,
// method, message, oneof, field, enum and value: names, numbers, kinds, cardinality, streaming and idempotency level.
// In it are the services and messages of the files and what these reach; comments, options, paths, declaration order
// and JSON names are not, nor the contents of google/protobuf/*.proto.
func FingerprintFiles(descriptors []protoreflect.FileDescriptor) string {
	return hashInterface(descriptors, nil)
}

// FingerprintSet is Fingerprint of a serialised FileDescriptorSet, such as Cell.json carries. interfaces are the names
// of the interface files in it; none means all that are not google/protobuf/*.proto.
func FingerprintSet(set []byte, interfaces []string) (string, error) {
	var fds descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &fds); err != nil {
		return "", fmt.Errorf("manifest: descriptor set: %w", err)
	}
	files, err := protodesc.NewFiles(&fds)
	if err != nil {
		return "", fmt.Errorf("manifest: descriptor set: %w", err)
	}
	var descriptors []protoreflect.FileDescriptor
	for _, f := range fds.GetFile() {
		name := f.GetName()
		if len(interfaces) > 0 && !slices.Contains(interfaces, name) || isStandard(name) {
			continue
		}
		d, err := files.FindFileByPath(name)
		if err != nil {
			return "", fmt.Errorf("manifest: descriptor set: %w", err)
		}
		descriptors = append(descriptors, d)
	}
	return FingerprintFiles(descriptors), nil
}

func hashInterface(descriptors []protoreflect.FileDescriptor, opaque []string) string {
	sum := sha256.Sum256([]byte(interfaceText(descriptors, opaque)))
	return hex.EncodeToString(sum[:])
}
