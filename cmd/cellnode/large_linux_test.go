package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// largeInterface is a checkout with an interface of 200 files and 1,000 methods, and a consumer of it: 50 files with a
// service of 20 methods each import three files of messages each.
func largeInterface(t testing.TB) (consumer string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var interfaces []string
	for s := range 50 {
		var b strings.Builder
		fmt.Fprintf(&b, "syntax = \"proto3\";\npackage big.v1;\n")
		for f := range 3 {
			fmt.Fprintf(&b, "import \"messages/m%d.proto\";\n", 3*s+f)
			write(fmt.Sprintf("big/messages/m%d.proto", 3*s+f), messages(3*s+f))
		}
		fmt.Fprintf(&b, "service Service%d {\n", s)
		for m := range 20 {
			in, out := 3*s+m%3, 3*s+(m+1)%3
			fmt.Fprintf(&b, "  rpc Call%d(Request%d) returns (%sReply%d);\n", m, in, []string{"", "stream "}[m%2], out)
		}
		fmt.Fprintf(&b, "}\n")
		write(fmt.Sprintf("big/service%d.proto", s), b.String())
		interfaces = append(interfaces, fmt.Sprintf("\"service%d.proto\"", s))
	}
	write("big/Cell.toml", "[package]\nname = \"big\"\ninterface = ["+strings.Join(interfaces, ", ")+"]\n")
	write("consumer/Cell.toml", "[cell.big]\npath = \"../big\"\ngit = \"https://localhost:1/acme/big\"\ntag = \"v1\"\n")
	write("consumer/go.mod", "module example.com/consumer\n\ngo 1.26.0\n")
	return filepath.Join(dir, "consumer")
}

// messages is a file with a request of ten fields and a reply.
func messages(i int) string {
	return fmt.Sprintf(`syntax = "proto3";
package big.v1;
import "google/protobuf/timestamp.proto";
message Request%[1]d {
  string id = 1; int64 count = 2; repeated string names = 3; map<string, int64> counts = 4; bytes data = 5;
  google.protobuf.Timestamp at = 6; double price = 7; bool urgent = 8; Kind%[1]d kind = 9; Request%[1]d before = 10;
}
message Reply%[1]d { oneof result { string text = 1; bytes data = 2; Request%[1]d request = 3; } }
enum Kind%[1]d { KIND%[1]d_NONE = 0; KIND%[1]d_SOME = 1; }
`, i)
}

// generateLarge runs the command once and returns the most memory that it held, in MB.
func generateLarge(t testing.TB, consumer string) float64 {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(consumer, "big")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cellnode", "remote", "FirstClient=big:Service0")
	cmd.Dir, cmd.Env = consumer, environ(filepath.Join(consumer, "home"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1000 // of KiB, near enough
}

func TestAnInterfaceOfAThousandMethodsIsGeneratedWithin300MB(t *testing.T) {
	consumer := largeInterface(t)
	if mb := generateLarge(t, consumer); mb > 300 {
		t.Errorf("it took %.0f MB, to reach was 300", mb)
	}
	methods := 0
	paths, err := filepath.Glob(filepath.Join(consumer, "big", "*_grpc.pb.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		methods += strings.Count(string(data), `= "/big.v1.`)
	}
	if methods != 1000 {
		t.Errorf("%d methods were generated, want 1000", methods)
	}
}

// The whole command, from its start to the last file written: an interface of 200 files and 1,000 methods.
func BenchmarkRemoteLarge(b *testing.B) {
	consumer := largeInterface(b)
	most := 0.0
	for b.Loop() {
		most = max(most, generateLarge(b, consumer))
	}
	b.ReportMetric(most, "MB-most")
}
