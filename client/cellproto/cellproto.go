// Package cellproto keeps the message types of each generated package to that package. Generated code calls it; nobody
// else needs to.
//
// Protobuf's global registry takes every name once in a program and panics at the second one. Typed clients are
// generated for many cells, by many modules: two cells may share a .proto file, and a service may import both its own
// messages and the client of its own cell. So each generated package registers its files in a registry of its own, which
// falls back to the global one for what it imports from elsewhere (google/protobuf/*.proto).
package cellproto

import (
	"errors"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// A Registry holds the files and types of one generated package and those in folders below it. It is filled while the
// program's packages are initialised and only read after that; its methods may be called by any number of goroutines.
type Registry struct {
	files protoregistry.Files
	types protoregistry.Types
}

var registries struct {
	sync.Mutex
	of map[string]*Registry
}

// In returns the registry of the generated package with this import path. It is made at the first call.
func In(importPath string) *Registry {
	registries.Lock()
	defer registries.Unlock()
	if registries.of == nil {
		registries.of = map[string]*Registry{}
	}
	r := registries.of[importPath]
	if r == nil {
		r = new(Registry)
		registries.of[importPath] = r
	}
	return r
}

// RegisterFile adds a file. It is an error if the package has one of its names already.
func (r *Registry) RegisterFile(f protoreflect.FileDescriptor) error { return r.files.RegisterFile(f) }

// RegisterMessage adds a message.
func (r *Registry) RegisterMessage(m protoreflect.MessageType) error {
	return r.types.RegisterMessage(m)
}

// RegisterEnum adds an enum.
func (r *Registry) RegisterEnum(e protoreflect.EnumType) error { return r.types.RegisterEnum(e) }

// RegisterExtension adds an extension. The global registry gets it too unless it has one in its place: messages are
// decoded with what that knows.
func (r *Registry) RegisterExtension(x protoreflect.ExtensionType) error {
	if err := r.types.RegisterExtension(x); err != nil {
		return err
	}
	d := x.TypeDescriptor()
	_, byName := protoregistry.GlobalTypes.FindExtensionByName(d.FullName())
	_, byNumber := protoregistry.GlobalTypes.FindExtensionByNumber(d.ContainingMessage().FullName(), d.Number())
	if errors.Is(byName, protoregistry.NotFound) && errors.Is(byNumber, protoregistry.NotFound) {
		return protoregistry.GlobalTypes.RegisterExtension(x)
	}
	return nil
}

// FindFileByPath returns a file of the package, or else of the global registry.
func (r *Registry) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if f, err := r.files.FindFileByPath(path); err == nil {
		return f, nil
	}
	return protoregistry.GlobalFiles.FindFileByPath(path)
}

// FindDescriptorByName returns a declaration of the package, or else of the global registry.
func (r *Registry) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := r.files.FindDescriptorByName(name); err == nil {
		return d, nil
	}
	return protoregistry.GlobalFiles.FindDescriptorByName(name)
}

// FindMessageByName returns a message type of the package, or else of the global registry.
func (r *Registry) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if m, err := r.types.FindMessageByName(name); err == nil {
		return m, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

// FindMessageByURL returns the message type that a type URL, as in google.protobuf.Any, ends in the name of.
func (r *Registry) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if m, err := r.types.FindMessageByURL(url); err == nil {
		return m, nil
	}
	return protoregistry.GlobalTypes.FindMessageByURL(url)
}

// FindExtensionByName returns an extension of the package, or else of the global registry.
func (r *Registry) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	if x, err := r.types.FindExtensionByName(name); err == nil {
		return x, nil
	}
	return protoregistry.GlobalTypes.FindExtensionByName(name)
}

// FindExtensionByNumber returns an extension of the package, or else of the global registry.
func (r *Registry) FindExtensionByNumber(message protoreflect.FullName, field protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	if x, err := r.types.FindExtensionByNumber(message, field); err == nil {
		return x, nil
	}
	return protoregistry.GlobalTypes.FindExtensionByNumber(message, field)
}

// Methods returns what the generated packages of this program, and the global registry, say of a method. There may be more
// than one answer: packages of one service can be generated at different times.
func Methods(service protoreflect.FullName, method protoreflect.Name) []protoreflect.MethodDescriptor {
	files := []*protoregistry.Files{protoregistry.GlobalFiles}
	registries.Lock()
	for _, r := range registries.of {
		files = append(files, &r.files)
	}
	registries.Unlock()
	var list []protoreflect.MethodDescriptor
	for _, f := range files {
		d, err := f.FindDescriptorByName(service)
		if s, ok := d.(protoreflect.ServiceDescriptor); ok && err == nil {
			if m := s.Methods().ByName(method); m != nil {
				list = append(list, m)
			}
		}
	}
	return list
}
