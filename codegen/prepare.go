package codegen

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// prepare decides which service is whose client, and in which Go package each file goes.
func (g *generation) prepare(interfaces []protoreflect.FileDescriptor) error {
	g.root = PackageName(path.Base(g.ImportPath))
	g.collect(interfaces)
	first, err := g.chooseServices(interfaces)
	if err != nil {
		return err
	}
	if first == nil {
		first = interfaces[0]
	}
	g.chooseFolders(first.Package())
	return nil
}

// collect lists the files and what they import, imports first. What the protobuf module has Go packages for is left out.
func (g *generation) collect(list []protoreflect.FileDescriptor) {
	seen := map[string]bool{}
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] || isStandard(f) {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		g.files = append(g.files, f)
	}
	for _, f := range list {
		add(f)
	}
}

func isStandard(f protoreflect.FileDescriptor) bool {
	return strings.HasPrefix(f.Path(), "google/protobuf/")
}

// chooseServices gives every asked-for type its service, and returns the file of the first one.
func (g *generation) chooseServices(interfaces []protoreflect.FileDescriptor) (protoreflect.FileDescriptor, error) {
	services := allServices(interfaces)
	g.renamed = map[protoreflect.FullName]string{}
	var first protoreflect.FileDescriptor
	for _, c := range g.Clients {
		s, err := c.service(g.Cell.Name, services)
		if err != nil {
			return nil, err
		}
		if was, twice := g.renamed[s.FullName()]; twice {
			return nil, fmt.Errorf("codegen: %s and %s are both asked for as the client of service %s: ask for one", was, c.Type, s.FullName())
		}
		g.renamed[s.FullName()] = c.Type
		if first == nil {
			first = s.ParentFile()
		}
	}
	if first == nil && len(services) > 0 {
		first = services[0].ParentFile()
	}
	return first, nil
}

func allServices(files []protoreflect.FileDescriptor) []protoreflect.ServiceDescriptor {
	var out []protoreflect.ServiceDescriptor
	for _, f := range files {
		for i := range f.Services().Len() {
			out = append(out, f.Services().Get(i))
		}
	}
	return out
}

// service is the one that c means.
func (c Client) service(cell string, services []protoreflect.ServiceDescriptor) (protoreflect.ServiceDescriptor, error) {
	var fits []protoreflect.ServiceDescriptor
	for _, s := range services {
		named := string(s.FullName()) == c.Service || string(s.Name()) == c.Service
		if named || c.Service == "" && clientName(s) == c.Type {
			fits = append(fits, s)
		}
	}
	if c.Service == "" && len(fits) == 0 {
		fits = services
	}
	switch {
	case len(fits) == 1:
		return fits[0], nil
	case len(services) == 0:
		return nil, fmt.Errorf("codegen: the interface of cell %s has no service, so there is nothing to call as %s", cell, c.Type)
	case c.Service == "":
		return nil, fmt.Errorf("codegen: cell %s has several services: choose with %s=%s:SERVICE, one of %s", cell, c.Type, cell, names(services))
	case len(fits) > 1:
		return nil, fmt.Errorf("codegen: cell %s has several services %q: write the full name, one of %s", cell, c.Service, names(fits))
	}
	return nil, fmt.Errorf("codegen: cell %s has no service %q; it has %s", cell, c.Service, names(services))
}

func names(services []protoreflect.ServiceDescriptor) string {
	out := make([]string, len(services))
	for i, s := range services {
		out[i] = string(s.FullName())
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// chooseFolders gives each protobuf package a Go package: the root's is the root. Packages that import each other
// cannot be Go packages of their own, so they share one.
func (g *generation) chooseFolders(root protoreflect.FullName) {
	group := g.cycles()
	var others []protoreflect.FullName
	for _, f := range g.files {
		p := group[f.Package()]
		if p != group[root] && !slices.Contains(others, p) {
			others = append(others, p)
		}
	}
	slices.Sort(others)
	folders := folderNames(others)
	g.folders = map[string]string{}
	for _, f := range g.files {
		g.folders[f.Path()] = folders[group[f.Package()]] // the root's is ""
	}
}

// cycles maps each protobuf package to the least name among those that it imports and that import it, itself included.
func (g *generation) cycles() map[protoreflect.FullName]protoreflect.FullName {
	reach := map[protoreflect.FullName]map[protoreflect.FullName]bool{}
	for _, f := range g.files {
		if reach[f.Package()] == nil {
			reach[f.Package()] = map[protoreflect.FullName]bool{f.Package(): true}
		}
		for i := range f.Imports().Len() {
			if to := f.Imports().Get(i); !isStandard(to) {
				reach[f.Package()][to.Package()] = true
			}
		}
	}
	for via := range reach {
		for from := range reach {
			if reach[from][via] {
				for to := range reach[via] {
					reach[from][to] = true
				}
			}
		}
	}
	least := map[protoreflect.FullName]protoreflect.FullName{}
	for p := range reach {
		least[p] = p
		for q := range reach[p] {
			if reach[q][p] && q < least[p] {
				least[p] = q
			}
		}
	}
	return least
}
