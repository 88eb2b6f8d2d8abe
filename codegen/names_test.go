package codegen

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gengo "google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"

	"github.com/cellnode/cellnode/manifest"
)

// publicModules bring .proto files along; they are among this module's own requirements.
var publicModules = []string{
	"github.com/libp2p/go-libp2p", "github.com/libp2p/go-libp2p-kad-dht", "github.com/libp2p/go-libp2p-record", "github.com/ipfs/boxo",
	"google.golang.org/grpc", "github.com/prometheus/client_model",
}

// Who knows the Go code that protoc's plugins generate knows ours: the exported names are the same, and the only ones
// added are those of the cell itself.
func TestTheExportedNamesAreThoseOfTheUsualPlugins(t *testing.T) {
	plugin := filepath.Join(t.TempDir(), "protoc-gen-go-grpc")
	build := exec.Command("go", "build", "-modfile=../tools/go.mod", "-o", plugin, "google.golang.org/grpc/cmd/protoc-gen-go-grpc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	compared, services := 0, 0
	for _, path := range publicProtos(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		in := publicInput(t, name, text)
		if _, err := manifest.Compile(in.Files, in.Interfaces, nil); err != nil {
			continue // imports what does not lie beside it
		}
		files, err := Generate(in)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		ours := exported(t, files)
		for _, own := range []string{"Cell", "Fingerprint", "Dial", "Types"} {
			for !ours[own] {
				own = "Cell" + own
			}
			delete(ours, own)
		}
		usual, hasServices := usualFiles(t, plugin, in)
		if want := exported(t, usual); !maps.Equal(ours, want) {
			t.Errorf("%s: only here %v, only there %v", path, missing(ours, want), missing(want, ours))
		}
		compared++
		if hasServices {
			services++
		}
	}
	t.Logf("%d files compared, %d of them with services", compared, services)
	if compared < 20 || services < 4 {
		t.Errorf("%d files with names to compare, %d of them with services; want 20 and 4", compared, services)
	}
}

func publicProtos(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-m", "-f", "{{.Dir}}"}, publicModules...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range strings.Fields(string(out)) {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Ext(path) == ".proto" {
				found = append(found, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func publicInput(t *testing.T, name string, text []byte) Input {
	t.Helper()
	cell, err := manifest.NewCell("https://localhost/a/b", "v1")
	if err != nil {
		t.Fatal(err)
	}
	return Input{
		Files: map[string][]byte{name: text}, Interfaces: []string{name}, ImportPath: testPath,
		Cell: manifest.LockedCell{Name: "exchange", Cell: cell, Git: cell.URL()},
	}
}

// usualFiles is what the two plugins make of the same file.
func usualFiles(t *testing.T, plugin string, in Input) (files map[string][]byte, services bool) {
	t.Helper()
	g := &generation{Input: in}
	descriptors, err := manifest.Compile(in.Files, in.Interfaces, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.prepare(descriptors); err != nil {
		t.Fatal(err)
	}
	request, err := g.request()
	if err != nil {
		t.Fatal(err)
	}
	messages, err := protogen.Options{}.New(request)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range messages.Files {
		if f.Generate {
			gengo.GenerateFile(messages, f)
			services = services || len(f.Services) > 0
		}
	}
	files = responseFiles(t, messages.Response())
	data, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(plugin)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	response := &pluginpb.CodeGeneratorResponse{}
	if err := proto.Unmarshal(out, response); err != nil {
		t.Fatal(err)
	}
	maps.Copy(files, responseFiles(t, response))
	return files, services
}

func responseFiles(t *testing.T, r *pluginpb.CodeGeneratorResponse) map[string][]byte {
	t.Helper()
	if r.Error != nil {
		t.Fatal(r.GetError())
	}
	files := map[string][]byte{}
	for _, f := range r.GetFile() {
		files[f.GetName()] = []byte(f.GetContent())
	}
	return files
}

// exported are the exported names of some files: package-level ones, and Type.Name for methods, fields and the methods of
// interfaces.
func exported(t *testing.T, files map[string][]byte) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	add := func(of string, id *ast.Ident) {
		if !id.IsExported() || of != "" && !token.IsExported(of) {
			return
		}
		if of != "" {
			of += "."
		}
		names[of+id.Name] = true
	}
	for name, data := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, data, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				add(receiver(fn), fn.Name)
				continue
			}
			for _, spec := range d.(*ast.GenDecl).Specs {
				for _, id := range specNames(spec) {
					add("", id)
				}
				if ts, ok := spec.(*ast.TypeSpec); ok {
					for _, id := range members(ts.Type) {
						add(ts.Name.Name, id)
					}
				}
			}
		}
	}
	return names
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	return typ.(*ast.Ident).Name
}

func members(typ ast.Expr) []*ast.Ident {
	var fields *ast.FieldList
	switch typ := typ.(type) {
	case *ast.StructType:
		fields = typ.Fields
	case *ast.InterfaceType:
		fields = typ.Methods
	default:
		return nil
	}
	var out []*ast.Ident
	for _, f := range fields.List {
		out = append(out, f.Names...)
	}
	return out
}

func missing(from, in map[string]bool) []string {
	var out []string
	for name := range from {
		if !in[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
