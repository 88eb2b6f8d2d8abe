package manifest

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var exchange = Cell{Repository: "cell-hub.acme.com/acme/exchange", Tag: "v1.3.0"}

// The words of the seed parse as they stand: an inline table under [cell], then [cell.exchange.policy].
func TestSeedTextParses(t *testing.T) {
	f, err := ParseFile("Cell.toml", readTestdata(t, "seed/Cell.toml"))
	if err != nil {
		t.Fatal(err)
	}
	limit := 500 * time.Millisecond
	want := map[string]Dependency{"exchange": {
		Name:   "exchange",
		Git:    "https://cell-hub.acme.com/acme/exchange",
		Tag:    "v1.3.0",
		Cell:   exchange,
		Policy: Policy{MaxLatency: &limit, AutoSpawn: true},
	}}
	if !reflect.DeepEqual(f.Cells, want) || f.Package != nil || len(f.Notes) != 0 {
		t.Errorf("got %+v, want the cells %+v alone", f, want)
	}
}

func TestSeedFirstFormIsTakenAsACell(t *testing.T) {
	first := string(readTestdata(t, "seed/first-form.toml"))
	for name, text := range map[string]string{
		"alone":         first,
		"with policy":   first + "\n[cell.exchange.policy]\nauto_spawn = true\n",
		"beside [cell]": first + "\n[cell.other]\ngit = \"https://h.org/a\"\ntag = \"v1\"\n",
	} {
		f, err := ParseFile("Cell.toml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := f.Cells["exchange"]; got.Cell != exchange || got.Policy.AutoSpawn != strings.Contains(text, "auto_spawn") {
			t.Errorf("%s: %+v", name, got)
		}
		note := []string{"Cell.toml: exchange stands at the top of the file; it is read as [cell.exchange]"}
		if !reflect.DeepEqual(f.Notes, note) {
			t.Errorf("%s: notes %q", name, f.Notes)
		}
	}
}

func TestWholeFile(t *testing.T) {
	f, err := ParseFile("Cell.toml", readTestdata(t, "whole.toml"))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Package: &Package{
			Name: "exchange", Repository: "https://cell-hub.acme.com/acme/exchange", Description: "Quotes and orders",
			Interface: []string{"proto/exchange.proto"}, ImportRoots: []string{"proto", "."},
		},
		Build:   Build{Package: "./cmd/exchange"},
		Run:     Run{Args: []string{}, Env: map[string]string{"LEVEL": "info"}, Listen: "tcp"},
		Health:  Health{Kind: "http", Path: "/healthz", Interval: 2 * time.Second, Timeout: 500 * time.Millisecond, Failures: 3},
		Sandbox: Sandbox{Network: "host", Read: []string{"/etc/ssl"}, MemoryMB: 512, CPUs: 1.5, Pids: 64},
		Trust:   &Trust{Keys: []string{"ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}, Threshold: 1},
		Cells: map[string]Dependency{"ledger": {
			Name: "ledger", Git: "git@github.com:Acme/Ledger.git", Tag: "v2.0.0",
			Mirrors: []string{"https://mirror.example.org/ledger"}, Path: "../ledger", Clone: true,
			Policy: Policy{AllowOpen: true, Share: true, Sandbox: "none", Binary: "rebuild"},
			Cell:   Cell{Repository: "github.com/acme/ledger", Tag: "v2.0.0"},
		}},
	}
	if !reflect.DeepEqual(f, want) {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
}

func TestEmptyFileIsAFile(t *testing.T) {
	f, err := ParseFile("Cell.toml", nil)
	if err != nil || !reflect.DeepEqual(f, &File{}) {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestPolicyDefaultsByPresence(t *testing.T) {
	for text, want := range map[string]*time.Duration{
		"": nil, "max_latency_ms = 0": new(time.Duration), "max_latency_ms = 3600000": ptr(time.Hour),
	} {
		f, err := ParseFile("Cell.toml", cellWith("[cell.a.policy]\n"+text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := f.Cells["a"].Policy.MaxLatency; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: limit %v, want %v", text, got, want)
		}
	}
}

func TestRunArgsTellAbsentFromEmpty(t *testing.T) {
	absent, err := ParseFile("Cell.toml", packageWith("[run]"))
	if err != nil || absent.Run.Args != nil {
		t.Errorf("absent: %v, %v", absent, err)
	}
	empty, err := ParseFile("Cell.toml", packageWith("[run]\nargs = []"))
	if err != nil || empty.Run.Args == nil {
		t.Errorf("empty: %v, %v", empty, err)
	}
}

// Each of the bad files in testdata/bad says in its first line what the error is.
func TestBadFilesSayWhatIsWrong(t *testing.T) {
	entries, err := os.ReadDir("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data := readTestdata(t, "bad/"+e.Name())
		first, _, _ := strings.Cut(string(data), "\n")
		want := strings.TrimPrefix(first, "# ")
		_, err := ParseFile("Cell.toml", data)
		var fe *FileError
		if !errors.As(err, &fe) || err.Error() != want {
			t.Errorf("%s:\n got  %v\n want %s", e.Name(), err, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"[cell]\na = 1":                   "cell.a is an integer; write a table",
		"cell = 1":                        "cell is an integer; write a table",
		"a = {git = \"https://h.org/a\"}": "a has no tag",
		"a = {tag = \"v1\"}":              "a has no git",
		"[cell.a]":                        "cell.a has no git",
		"[cell.A]\ngit=\"https://h.org/a\"\ntag=\"v1\"":                    "cell.A has characters other than",
		"[cell.\"a b\"]\ngit=\"https://h.org/a\"\ntag=\"v1\"":              `cell."a b" has characters other than`,
		"a = {git=\"https://h.org/a\"}\n[cell.a]\ngit=\"https://h.org/b\"": "cell.a.git is also written at the top",
		"a = {git=\"https://h.org/a\",tag=\"v1\"}\n[cell]\na = 1":          "a", // no panic
		"[package]":               "package has no name",
		"[package]\nname = \"\"":  "package has no name",
		"[package]\nname = \"X\"": "package.name has characters other than",
		"package = \"exchange\"":  "package is a string; write a table",
		"[run]":                   "run describes a cell, but there is no [package]",
		"[trust]\nkeys = []":      "trust names no keys",
		"cells = 1\n[cell]":       "did you mean cell?",
		"pakage = 1":              "did you mean package?",
		"zzzzzzzz = 1":            "known here are build, cell, health, package, run, sandbox, trust",
		"x = \"\\uD800\"":         "is not TOML",
		"\xff = 1":                "is not TOML",
		"a = [1,\n2":              "is not TOML",
		"a.b = 1\na.b = 2":        "is not TOML",
	} {
		checkFileError(t, text, []byte(text), want)
	}
	for text, want := range map[string]string{
		"repository = \"/srv/git\"":                                      "package.repository is a path on this disk",
		"repository = \"ext::sh -c id\"":                                 "package.repository \"ext::sh -c id\": names a git remote helper",
		"repository = \"\"":                                              "package.repository \"\": is empty",
		"description = \"a\\nb\"":                                        "package.description has a control",
		"description = \"" + long("x", 1025) + "\"":                      "package.description is longer than 1024 bytes",
		"interface = \"a.proto\"":                                        "package.interface is a string; write an array",
		"interface = [1]":                                                "package.interface[0] is an integer; write a string",
		"interface = [\"../a.proto\"]":                                   "package.interface has \"../a.proto\": it leaves the repository",
		"interface = [\"a\", \"a\"]":                                     "package.interface has \"a\" twice",
		"interface = [\".\"]":                                            "package.interface has \".\": it is not clean",
		"interface = [" + long("\"a\",", 257) + "]":                      "package.interface has 257 elements; at most 256 are read",
		"import_roots = [\"/proto\"]":                                    "package.import_roots has \"/proto\": it is absolute",
		"[build]\npackage = \"../cmd\"":                                  "build.package leaves the repository",
		"[build]\npackage = \"-x\"":                                      "build.package has a part that begins with -",
		"[build]\npackage = \"./...\"":                                   "build.package is a pattern",
		"[build]\npackage = \"\"":                                        "build.package is empty",
		"[build]\npackage = \".\"\ncommand = [\"make\"]\noutput = \"x\"": "build has both package and command",
		"[build]\ncommand = [\"make\"]":                                  "build has a command but no output",
		"[build]\ncommand = []\noutput = \"x\"":                          "build.command names no program",
		"[build]\noutput = \"x\"":                                        "build.output goes with command",
		"[build]\ncommand = [\"make\"]\noutput = \"/x\"":                 "build.output is absolute",
		"[run]\nlisten = \"udp\"":                                        "run.listen is \"udp\"; write one of \"unix\", \"tcp\"",
		"[run]\nargs = \"--x\"":                                          "run.args is a string; write an array",
		"[run.env]\nCELL_HOME = \"x\"":                                   "run.env.CELL_HOME is set by cellnode",
		"[run.env]\n\"A B\" = \"x\"":                                     "run.env.\"A B\" is not the name of an environment variable",
		"[run.env]\nA = 1":                                               "run.env.A is an integer; write a string",
		"[run.env]\nA = \"\\u0000\"":                                     "run.env.A has a zero byte",
		"[health]\nkind = \"ping\"":                                      "health.kind is \"ping\"; write one of",
		"[health]\ninterval = 5":                                         "health.interval is an integer; write a string",
		"[health]\ninterval = \"5\"":                                     "health.interval is \"5\"; write a time with its unit",
		"[health]\ninterval = \"1ns\"":                                   "health.interval is 1ns; write 100ms to 1h0m0s",
		"[health]\nfailures = 0":                                         "health.failures is 0; write 1 to 1000",
		"[health]\nkind = \"exec\"":                                      "health is of kind exec and has no command",
		"[health]\ncommand = [\"x\"]":                                    "health.command goes with kind",
		"[health]\nkind = \"http\"\npath = \"x\"":                        "health.path does not begin with /",
		"[health]\nkind = \"tcp\"\npath = \"/x\"":                        "health.path goes with kind",
		"[sandbox]\nnetwork = \"all\"":                                   "sandbox.network is \"all\"; write one of \"none\", \"host\"",
		"[sandbox]\nread = [\"etc\"]":                                    "sandbox.read has \"etc\": it is a relative path",
		"[sandbox]\nwrite = [\"/a/../b\"]":                               "sandbox.write has \"/a/../b\": it has ..",
		"[sandbox]\nmemory_mb = -1":                                      "sandbox.memory_mb is -1; write 1 to",
		"[sandbox]\ncpus = nan":                                          "sandbox.cpus is NaN",
		"[sandbox]\ncpus = inf":                                          "sandbox.cpus is +Inf",
		"[sandbox]\nmemory = 1":                                          "sandbox.memory is not a known key; did you mean memory_mb?",
		"[trust]\nkeys = [\"x\"]":                                        "trust.keys has \"x\": does not begin with ed25519:",
		"[trust]\nkeys = [\"ed25519:AAAA\"]":                             "is not 32 bytes of base64",
		"[trust]\nkeys = [\"" + zeroKey + "\", \"" + zeroKey + "=\"]":    "twice",
		"[trust]\nkeys = [\"" + zeroKey + "\"]\nthreshold = 2":           "trust.threshold is 2; write 1 to 1",
		"[trust]\nkeys = [\"" + zeroKey + "\"]\nthreshold = 0":           "trust.threshold is 0; write 1 to 1",
	} {
		checkFileError(t, text, packageWith(text), want)
	}
	for text, want := range map[string]string{
		"version = \"^1.3\"":                        "cell.a.version is not read: a cell is one tag",
		"branch = \"main\"":                         "cell.a.branch is not read: a cell is one tag",
		"clone = 1":                                 "cell.a.clone is an integer; write true or false",
		"path = \"\"":                               "cell.a.path is empty",
		"mirrors = [\"http://h.org/a\"]":            "cell.a.mirrors has \"http://h.org/a\": is not encrypted",
		"[cell.a.policy]\nmax_latency_ms = -1":      "cell.a.policy.max_latency_ms is -1; write 0 to 3600000",
		"[cell.a.policy]\nmax_latency_ms = 3600001": "cell.a.policy.max_latency_ms is 3600001",
		"[cell.a.policy]\nmax_latency_ms = 1.5":     "cell.a.policy.max_latency_ms is a number; write a whole number",
		"[cell.a.policy]\nmax_latency_ms = \"5\"":   "cell.a.policy.max_latency_ms is a string",
		"[cell.a.policy]\nauto_spawn = \"yes\"":     "cell.a.policy.auto_spawn is a string; write true or false",
		"[cell.a.policy]\nautospawn = true":         "cell.a.policy.autospawn is not a known key; did you mean auto_spawn?",
		"[cell.a.policy]\nAuto_Spawn = true":        "did you mean auto_spawn?",
		"[cell.a.policy]\nsandbox = \"off\"":        "cell.a.policy.sandbox is \"off\"; write one of \"none\"",
		"[cell.a.policy]\nbinary = \"trust\"":       "cell.a.policy.binary is \"trust\"",
		"policy = 1":                                "cell.a.policy is an integer; write a table",
	} {
		checkFileError(t, text, cellWith(text), want)
	}
}

const zeroKey = "ed25519:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestCellAt(t *testing.T) {
	published := &File{Package: &Package{Name: "exchange", Repository: "https://cell-hub.acme.com/acme/exchange"}}
	for _, tt := range []struct {
		file      *File
		url, want string
	}{
		{published, "/home/me/exchange", "cell-hub.acme.com/acme/exchange@v1.3.0"},
		{published, "https://fork.example.org/exchange", "fork.example.org/exchange@v1.3.0"},
		{&File{Package: &Package{Name: "exchange"}}, "/home/me/exchange", "file:/home/me/exchange@v1.3.0"},
		{&File{}, "/home/me/exchange", "file:/home/me/exchange@v1.3.0"},
	} {
		if c, err := tt.file.CellAt(tt.url, "v1.3.0"); err != nil || c.String() != tt.want {
			t.Errorf("CellAt(%q) = %v, %v; want %s", tt.url, c, err, tt.want)
		}
	}
	if _, err := published.CellAt("ext::id", "v1"); err == nil {
		t.Error("a hostile address became a cell")
	}
}

func TestTooManyCellsAreRefused(t *testing.T) {
	var b strings.Builder
	for i := range MaxCells + 1 {
		fmt.Fprintf(&b, "[cell.a%d]\ngit=\"https://h.org/a\"\ntag=\"v1\"\n", i)
	}
	checkFileError(t, "257 cells", []byte(b.String()), "cell names 257 cells; at most 256 are read")
}

func packageWith(text string) []byte { return []byte("[package]\nname = \"exchange\"\n" + text) }

func cellWith(text string) []byte {
	return []byte("[cell.a]\ngit = \"https://h.org/a\"\ntag = \"v1\"\n" + text)
}

func ptr[T any](v T) *T { return &v }

func checkFileError(t *testing.T, name string, data []byte, want string) {
	t.Helper()
	f, err := ParseFile("Cell.toml", data)
	var fe *FileError
	if !errors.As(err, &fe) || f != nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%.80s:\n got  %v\n want %s", name, err, want)
	}
}

func ExampleParseFile() {
	f, err := ParseFile("Cell.toml", []byte(`
[cell]
exchange = { git = "https://cell-hub.acme.com/acme/exchange", tag = "v1.3.0" }

[cell.exchange.policy]
max_latency_ms = 500
auto_spawn = true
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	d := f.Cells["exchange"]
	fmt.Println(d.Cell, *d.Policy.MaxLatency, d.Policy.AutoSpawn)

	_, err = ParseFile("Cell.toml", []byte("[cell.exchange]\ngit = \"https://cell-hub.acme.com/acme/exchange\"\ntga = \"v1.3.0\"\n"))
	fmt.Println(err)
	// Output:
	// cell-hub.acme.com/acme/exchange@v1.3.0 500ms true
	// manifest: Cell.toml:3: cell.exchange.tga is not a known key; did you mean tag?
}
