package manifest

import (
	"path"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
)

// roots maps between the paths of a repository and the names by which protobuf files import each other.
type roots []string

// rootOrders are the import roots to try, in order. Written roots are the only try. Without them the root of the
// repository and the folders of the interface files serve, first one first, then the other: a file must have one name
// throughout a compilation, and its importers know which.
func rootOrders(interfaces, importRoots []string) []roots {
	if len(importRoots) > 0 {
		return []roots{importRoots}
	}
	var folders roots
	for _, f := range interfaces {
		if dir := path.Dir(f); dir != "." && !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	if len(folders) == 0 {
		return []roots{{"."}}
	}
	return []roots{append(roots{"."}, folders...), append(slices.Clone(folders), ".")}
}

// paths are where an import may lie, best first.
func (r roots) paths(name string) []string {
	var out []string
	for _, root := range r {
		if p := path.Join(root, name); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// name is the import name of a file: relative to the first root that holds it, as protoc has it.
func (r roots) name(file string) (string, bool) {
	for _, root := range r {
		if root == "." {
			return file, true
		}
		if name, ok := strings.CutPrefix(file, root+"/"); ok {
			return name, true
		}
	}
	return "", false
}

// standard has the files that every protobuf compiler brings along (google/protobuf/*.proto).
var standard = protocompile.WithStandardImports(protocompile.ResolverFunc(notFound))

func isStandard(name string) bool {
	_, err := standard.FindFileByPath(name)
	return err == nil
}

func isProto(file string) bool { return strings.HasSuffix(file, ".proto") }
