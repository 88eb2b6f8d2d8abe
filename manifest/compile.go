package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Compile compiles the protobuf files among interfaces and returns their descriptors in the order of interfaces, with
// imports linked and without comments, which no generated code may carry. files holds them and all that they import, by path inside the repository (see
// InterfaceFiles). An import is looked up under the importRoots; without any, under the root of the repository and the
// folders of the interfaces. google/protobuf/*.proto are built in and cannot be replaced.
func Compile(files map[string][]byte, interfaces, importRoots []string) ([]protoreflect.FileDescriptor, error) {
	if err := checkAll(files); err != nil {
		return nil, err
	}
	var first error
	for _, order := range rootOrders(interfaces, importRoots) {
		descriptors, err := compile(files, interfaces, order)
		if err == nil {
			return descriptors, checkInterface(descriptors)
		}
		if first == nil || errors.Is(first, fs.ErrNotExist) {
			first = err
		}
	}
	return nil, first
}

func checkAll(files map[string][]byte) error {
	total := 0
	for name, data := range files {
		total += len(data)
		if err := checkSizes(name, len(data), len(files), total); err != nil {
			return err
		}
		if isProto(name) {
			if err := checkShapeProto(name, data); err != nil {
				return err
			}
		}
	}
	return nil
}

func compile(files map[string][]byte, interfaces []string, order roots) ([]protoreflect.FileDescriptor, error) {
	var names []string
	for _, f := range interfaces {
		if !isProto(f) {
			continue
		}
		name, ok := order.name(f)
		if !ok {
			return nil, fmt.Errorf("manifest: %s: lies in none of the import roots %v; add its folder to import_roots",
				f, []string(order))
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, nil
	}
	c := protocompile.Compiler{Resolver: order.resolver(files)}
	linked, err := c.Compile(context.Background(), names...)
	if err != nil {
		return nil, &compileError{err}
	}
	out := make([]protoreflect.FileDescriptor, len(linked))
	for i, l := range linked {
		out[i] = l
	}
	return out, nil
}

// compileError puts the compiler's message, which begins with file:line:column, behind this package's name.
type compileError struct{ err error }

func (e *compileError) Error() string { return "manifest: " + oneLine(e.err.Error()) }
func (e *compileError) Unwrap() error { return e.err }

// resolver finds the standard files first, so that no repository can change what they say, then those of files.
func (r roots) resolver(files map[string][]byte) protocompile.Resolver {
	return protocompile.ResolverFunc(func(name string) (protocompile.SearchResult, error) {
		if found, err := standard.FindFileByPath(name); err == nil {
			return found, nil
		}
		for _, p := range r.paths(name) {
			if data, ok := files[p]; ok {
				return protocompile.SearchResult{Source: bytes.NewReader(data)}, nil
			}
		}
		return notFound(name)
	})
}

func notFound(string) (protocompile.SearchResult, error) {
	return protocompile.SearchResult{}, fs.ErrNotExist
}

// checkInterface holds an interface to the limits that generated code is made for.
func checkInterface(descriptors []protoreflect.FileDescriptor) error {
	methods := 0
	for _, d := range descriptors {
		for i := range d.Services().Len() {
			methods += d.Services().Get(i).Methods().Len()
		}
		if err := checkMessages(d.Messages(), 1); err != nil {
			return err
		}
	}
	if methods > MaxMethods {
		return fmt.Errorf("manifest: interface has %d methods; at most %d are read", methods, MaxMethods)
	}
	return nil
}

func checkMessages(messages protoreflect.MessageDescriptors, depth int) error {
	for i := range messages.Len() {
		m := messages.Get(i)
		if depth > MaxDepth {
			return fmt.Errorf("manifest: message %s is nested deeper than %d", m.FullName(), MaxDepth)
		}
		if n := m.Fields().Len(); n > MaxFields {
			return fmt.Errorf("manifest: message %s has %d fields; at most %d are read", m.FullName(), n, MaxFields)
		}
		if err := checkMessages(m.Messages(), depth+1); err != nil {
			return err
		}
	}
	return nil
}
