package codegen

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/bufbuild/protocompile/protoutil"
	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// messagesAndStubs generates a .pb.go file for each protobuf file, and a _grpc.pb.go file where it has services.
func (g *generation) messagesAndStubs() (map[string][]byte, error) {
	request, err := g.request()
	if err != nil {
		return nil, err
	}
	plugin, err := protogen.Options{}.New(request)
	if err != nil {
		return nil, fmt.Errorf("codegen: %w", err)
	}
	used := map[string]bool{}
	for _, f := range plugin.Files {
		if !f.Generate {
			continue
		}
		f.GeneratedFilenamePrefix = g.prefix(f.Desc.Path(), used)
		gengo.GenerateFile(plugin, f)
		if len(f.Services) > 0 {
			g.stubs(plugin, f)
		}
	}
	response := plugin.Response()
	if response.Error != nil {
		return nil, fmt.Errorf("codegen: %s", response.GetError())
	}
	files := map[string][]byte{}
	for _, f := range response.GetFile() {
		data := []byte(f.GetContent())
		if !strings.HasSuffix(f.GetName(), "_grpc.pb.go") {
			if data, err = g.keepPrivate(f.GetName(), data); err != nil {
				return nil, err
			}
		}
		files[f.GetName()] = data
	}
	return files, nil
}

// prefix is where the Go files of a protobuf file go: its folder and base name, or the whole path where that is taken.
func (g *generation) prefix(file string, used map[string]bool) string {
	p := path.Join(g.folders[file], fileBase(path.Base(file)))
	for used[p] {
		p = path.Join(g.folders[file], fileBase(file))
		if used[p] {
			p += "_"
		}
	}
	used[p] = true
	return p
}

// request is what a protobuf compiler hands to its plugins, with our own Go packages written into it.
func (g *generation) request() (*pluginpb.CodeGeneratorRequest, error) {
	r := &pluginpb.CodeGeneratorRequest{}
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor) error
	add = func(f protoreflect.FileDescriptor) error {
		if seen[f.Path()] {
			return nil
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			if err := add(f.Imports().Get(i).FileDescriptor); err != nil {
				return err
			}
		}
		d, err := g.descriptor(f)
		if err != nil {
			return err
		}
		r.ProtoFile = append(r.ProtoFile, d)
		return nil
	}
	for _, f := range g.files {
		if err := add(f); err != nil {
			return nil, err
		}
		r.FileToGenerate = append(r.FileToGenerate, f.Path())
	}
	return r, nil
}

// descriptor is a file as it is embedded in the code: the repository's options for other languages, and for where its
// own Go code lies, are not ours to repeat.
func (g *generation) descriptor(f protoreflect.FileDescriptor) (*descriptorpb.FileDescriptorProto, error) {
	// Through bytes, so that options that Go packages define have these packages' types.
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(protoutil.ProtoFromFileDescriptor(f))
	if err != nil {
		return nil, fmt.Errorf("codegen: %s: %w", f.Path(), err)
	}
	d := &descriptorpb.FileDescriptorProto{}
	if err := proto.Unmarshal(data, d); err != nil {
		return nil, fmt.Errorf("codegen: %s: %w", f.Path(), err)
	}
	if isStandard(f) {
		return d, nil
	}
	folder := g.folders[f.Path()]
	name := g.root
	if folder != "" {
		name = folder
	}
	d.SourceCodeInfo = nil
	options := &descriptorpb.FileOptions{GoPackage: proto.String(path.Join(g.ImportPath, folder) + ";" + name)}
	if d.Options != nil {
		options.Deprecated, options.Features = d.Options.Deprecated, d.Options.Features
	}
	d.Options = options
	return d, nil
}

var builder = regexp.MustCompile(`\tout := (\w+)\.TypeBuilder\{\n\t\tFile: (\w+)\.DescBuilder\{\n`)

// keepPrivate makes the package's messages known to the package alone (see cellproto): protobuf's global registry takes
// every name once in a program, and so would forbid two cells that share a file, or a service that calls its own cell.
func (g *generation) keepPrivate(name string, data []byte) ([]byte, error) {
	text := string(data)
	at := builder.FindAllStringIndex(text, -1)
	if len(at) != 1 || !strings.Contains(text, "\nimport (\n") {
		return nil, fmt.Errorf("codegen: %s: is not in the form that this version knows", name)
	}
	registry := fmt.Sprintf("cellproto.In(%q)", g.ImportPath)
	head, found := text[:at[0][0]], text[at[0][0]:at[0][1]]
	found = strings.Replace(found, "TypeBuilder{\n", "TypeBuilder{\n\t\tTypeRegistry: "+registry+",\n", 1)
	found += "\t\t\tFileRegistry: " + registry + ",\n"
	text = head + found + text[at[0][1]:]
	text = strings.Replace(text, "\nimport (\n", "\nimport (\n\tcellproto \""+module+"/client/cellproto\"\n", 1)
	return reformat(name, text)
}
