package manifest

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// InterfaceSet is an interface by itself: all that its fingerprint is made of, so that whoever has the fingerprint can
// check one that a stranger hands over.
type InterfaceSet struct {
	Files  []protoreflect.FileDescriptor // as Compile returns them
	Opaque []string                      // SHA-256, hex, of each interface file that is not protobuf
}

// Fingerprint is what Fingerprint is for the interface's files.
func (s InterfaceSet) Fingerprint() string {
	if len(s.Files)+len(s.Opaque) == 0 {
		return ""
	}
	return hashInterface(s.Files, s.Opaque)
}

// Breaking lists what code made for s may not find in now, see the function Breaking. An interface file that is not
// protobuf cannot be read here, so any change of one counts.
func (s InterfaceSet) Breaking(now InterfaceSet) []string {
	found := Breaking(s.Files, now.Files)
	for _, hash := range s.Opaque {
		if !slices.Contains(now.Opaque, hash) {
			found = append(found, fmt.Sprintf("interface file %s, which is not protobuf, has changed", short(hash)))
		}
	}
	return found
}

// The fields of the serialised form, a protobuf message.
const (
	setDescriptors protowire.Number = 1 // a FileDescriptorSet: the interface files and what they import
	setFile        protowire.Number = 2 // the name of an interface file in it, repeated
	setOpaque      protowire.Number = 3 // 32 bytes, repeated
)

// Marshal returns the form that travels and is kept. It is an error if that is larger than MaxInterfaceSet.
func (s InterfaceSet) Marshal() ([]byte, error) {
	descriptors, err := DescriptorSet(s.Files)
	if err != nil {
		return nil, err
	}
	b := protowire.AppendBytes(protowire.AppendTag(nil, setDescriptors, protowire.BytesType), descriptors)
	for _, f := range s.Files {
		b = protowire.AppendString(protowire.AppendTag(b, setFile, protowire.BytesType), f.Path())
	}
	for _, text := range s.Opaque {
		hash, err := hex.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("manifest: interface set: %w", err)
		}
		b = protowire.AppendBytes(protowire.AppendTag(b, setOpaque, protowire.BytesType), hash)
	}
	if len(b) > MaxInterfaceSet {
		return nil, fmt.Errorf("manifest: interface set of %d bytes; at most %d travel", len(b), MaxInterfaceSet)
	}
	return b, nil
}

// ParseInterfaceSet reads what Marshal returns, from anybody: sizes are checked before memory is taken, and the contents
// of google/protobuf/*.proto are this program's own, whatever the set says.
func ParseInterfaceSet(data []byte) (InterfaceSet, error) {
	s, err := parseInterfaceSet(data)
	if err != nil {
		return InterfaceSet{}, fmt.Errorf("manifest: interface set: %w", err)
	}
	return s, nil
}

func parseInterfaceSet(data []byte) (s InterfaceSet, err error) {
	if len(data) > MaxInterfaceSet {
		return s, fmt.Errorf("%d bytes; at most %d are read", len(data), MaxInterfaceSet)
	}
	var descriptors []byte
	var names []string
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return s, protowire.ParseError(n)
		}
		value, m := protowire.ConsumeBytes(data[n:])
		if kind != protowire.BytesType {
			value, m = nil, protowire.ConsumeFieldValue(number, kind, data[n:])
		}
		if m < 0 {
			return s, protowire.ParseError(m)
		}
		data = data[n+m:]
		switch {
		case number == setDescriptors && value != nil:
			descriptors = value
		case number == setFile && value != nil:
			names = append(names, string(value))
		case number == setOpaque && value != nil:
			s.Opaque = append(s.Opaque, hex.EncodeToString(value))
		}
		if len(names)+len(s.Opaque) > MaxInterfaces {
			return s, fmt.Errorf("more than %d interface files", MaxInterfaces)
		}
	}
	s.Files, err = linkSet(descriptors, names)
	return s, err
}

// linkSet makes descriptors of a FileDescriptorSet and returns those with these names.
func linkSet(data []byte, names []string) ([]protoreflect.FileDescriptor, error) {
	var set descriptorpb.FileDescriptorSet
	if _, err := countMessages(data, set.ProtoReflect().Descriptor(), 0); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	if len(set.File) > 2*MaxInterfaceFiles {
		return nil, fmt.Errorf("%d files; at most %d are read", len(set.File), 2*MaxInterfaceFiles)
	}
	for i, f := range set.File {
		if own, err := standard.FindFileByPath(f.GetName()); err == nil {
			set.File[i] = protodesc.ToFileDescriptorProto(own.Desc)
		}
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	var out []protoreflect.FileDescriptor
	for _, name := range names {
		f, err := files.FindFileByPath(name)
		if err != nil || isStandard(name) || !strings.HasSuffix(name, ".proto") {
			return nil, fmt.Errorf("%.64q is no interface file of it", name)
		}
		out = append(out, f)
	}
	return out, checkInterface(out)
}

const (
	// maxSetMessages bounds the messages in a serialised descriptor set – one for each field, method, value and option –
	// since an empty one takes two bytes there and some 250 in memory.
	maxSetMessages = 1 << 16
	maxSetDepth    = MaxDepth + 8
)

// countMessages counts the messages in serialised data that is to be of kind m, without building one.
func countMessages(data []byte, m protoreflect.MessageDescriptor, depth int) (total int, err error) {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, data[n:])
		if size < 0 {
			return 0, protowire.ParseError(size)
		}
		if f := m.Fields().ByNumber(number); f != nil && f.Message() != nil && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(data[n:])
			inside, err := countMessages(value, f.Message(), depth+1)
			if err != nil {
				return 0, err
			}
			total += 1 + inside
		}
		if total > maxSetMessages || depth > maxSetDepth {
			return 0, fmt.Errorf("more than %d declarations, or nested deeper than %d", maxSetMessages, MaxDepth)
		}
		data = data[n+size:]
	}
	return total, nil
}
