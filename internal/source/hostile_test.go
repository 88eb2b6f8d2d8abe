package source

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/manifest"
)

func TestHostileRepositoriesAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("[package]\nname = \"stolen\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		make func(r *repo)
		want string
	}{
		"no Cell.toml":             {func(r *repo) { r.git("rm", "--quiet", "Cell.toml") }, "there is no Cell.toml"},
		"linked Cell.toml":         {func(r *repo) { r.link("Cell.toml", secret) }, "Cell.toml is a symbolic link"},
		"link to a file inside":    {func(r *repo) { r.link("Cell.toml", "README.md") }, "Cell.toml is a symbolic link"},
		"linked folder":            {func(r *repo) { r.link("proto", filepath.Dir(secret)) }, "proto is a symbolic link"},
		"linked interface":         {func(r *repo) { r.link("proto/exchange.proto", secret) }, "proto/exchange.proto is a symbolic link"},
		"linked import":            {func(r *repo) { r.link("proto/money.proto", secret) }, "proto/money.proto is a symbolic link"},
		"Cell.toml is a folder":    {func(r *repo) { r.git("rm", "--quiet", "Cell.toml"); r.write("Cell.toml/x", "x") }, "Cell.toml is a folder"},
		"Cell.toml is a consumer":  {func(r *repo) { r.write("Cell.toml", "") }, "has no [package]"},
		"Cell.toml is broken":      {func(r *repo) { r.write("Cell.toml", "[package]\nname = \"X\"\n") }, "Cell.toml:2: package.name has characters"},
		"Cell.toml is huge":        {func(r *repo) { r.write("Cell.toml", "#"+strings.Repeat("x", manifest.MaxFileSize)) }, "Cell.toml is 1048577 bytes; at most 1048576"},
		"Cell.toml unpacks":        {func(r *repo) { r.write("Cell.toml", strings.Repeat(" ", 48<<20)) }, "Cell.toml is 50331648 bytes; at most 1048576"},
		"interface is huge":        {func(r *repo) { r.write("proto/exchange.proto", strings.Repeat("\n", manifest.MaxInterfaceSize+1)) }, "is 1048577 bytes"},
		"interface is not there":   {func(r *repo) { r.git("rm", "--quiet", "proto/exchange.proto") }, "proto/exchange.proto: interface file is not there"},
		"import is not there":      {func(r *repo) { r.git("rm", "--quiet", "proto/money.proto") }, `import "money.proto" is in none of the import roots`},
		"import leaves":            {func(r *repo) { r.write("proto/exchange.proto", `import "../../x.proto";`) }, "leaves the repository"},
		"interface leaves":         {func(r *repo) { r.write("Cell.toml", "[package]\nname = \"x\"\ninterface = [\"../x\"]\n") }, "leaves the repository"},
		"interface does not parse": {func(r *repo) { r.write("proto/money.proto", "message {") }, "proto/money.proto:1:9: syntax error"},
		"interface under a file":   {func(r *repo) { r.write("Cell.toml", "[package]\nname = \"x\"\ninterface = [\"README.md/x.proto\"]\n") }, "is not there"},
		"submodule": {func(r *repo) {
			r.git("rm", "-r", "--quiet", "proto")
			r.git("update-index", "--add", "--cacheinfo", "160000,"+r.git("rev-parse", "HEAD")+",proto")
			r.git("commit", "--quiet", "--message", "m")
			r.git("tag", "--force", "v1.0.0")
		}, "proto is a submodule"},
		"tag of a folder": {func(r *repo) { r.git("tag", "--force", "v1.0.0", "HEAD^{tree}") }, "it names no commit"},
		"tag of a file":   {func(r *repo) { r.git("tag", "--force", "v1.0.0", "HEAD:Cell.toml") }, "it names no commit"},
		"annotated tag of a folder": {func(r *repo) {
			r.git("tag", "--force", "--annotate", "--message", "m", "v1.0.0", "HEAD^{tree}")
		}, "it names no commit"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			r := exchange(t)
			tt.make(r)
			if !strings.Contains(name, "tag of") && name != "submodule" {
				r.commit("v1.0.0")
			}
			m, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1.0.0")
			var ce *ContentError
			if m != nil || !errors.As(err, &ce) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %v; want %q", m, err, tt.want)
			}
		})
	}
}

// What a repository brings along that git could run or follow stays where it is.
func TestNothingOfTheRepositoryIsRun(t *testing.T) {
	pwn := filepath.Join(t.TempDir(), "pwn")
	r := exchange(t)
	for _, hook := range []string{"post-checkout", "post-merge", "reference-transaction", "pre-auto-gc", "fsmonitor-watchman"} {
		r.write(".git/hooks/"+hook, "#!/bin/sh\ntouch "+pwn+"\n")
		if err := os.Chmod(filepath.Join(r.dir, ".git/hooks", hook), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.write(".gitattributes", "* filter=evil diff=evil export-subst\n")
	r.write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = https://h.org/x\n")
	r.write(".lfsconfig", "[lfs]\n\turl = https://h.org/x\n")
	commit := r.commit("v1.0.0")
	for _, ref := range []string{"refs/tags/--upload-pack=touch", "refs/heads/-x", "refs/tags/v1.0.0$(id)"} {
		r.write(".git/"+ref, commit+"\n") // git itself would refuse to make them
	}
	for _, url := range []string{r.dir, serve(t, r, "uploadpack.allowFilter=true").url()} {
		s := newSource(t, Config{})
		m, err := s.Manifest(t.Context(), url, "v1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		checkExchange(t, m, commit)
		// The same with hooks and configuration planted in the cache.
		dirs, err := filepath.Glob(filepath.Join(s.cfg.CacheDir, "git", "*", "HEAD"))
		if err != nil || len(dirs) != 1 {
			t.Fatal(dirs, err)
		}
		dir := filepath.Dir(dirs[0])
		for _, hook := range []string{"reference-transaction", "post-checkout"} {
			if err := errors.Join(os.MkdirAll(filepath.Join(dir, "hooks"), 0o755),
				os.WriteFile(filepath.Join(dir, "hooks", hook), []byte("#!/bin/sh\ntouch "+pwn+"\n"), 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		evil := "[core]\n\trepositoryformatversion = 0\n\tbare = true\n\tsshCommand = touch " + pwn + "\n\tfsmonitor = touch " + pwn +
			"\n[remote \"cell\"]\n\turl = ext::touch " + pwn + "\n\tuploadpack = touch " + pwn + "\n"
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "config"), []byte(evil), 0o600),
			os.RemoveAll(filepath.Join(s.cfg.CacheDir, "manifests"))); err != nil {
			t.Fatal(err)
		}
		r.git("commit", "--quiet", "--allow-empty", "--message", "n")
		r.git("tag", "--force", "v1.0.0")
		if _, err := s.Manifest(t.Context(), url, "v1.0.0"); err != nil {
			t.Fatal(err)
		}
		r.git("tag", "--force", "v1.0.0", commit)
	}
	if _, err := os.Stat(pwn); err == nil {
		t.Error("something was run")
	}
}

// What does not fit ends at the limit on bytes, and nothing of it stays in the cache. A host that filters is not asked for
// what nobody reads.
func TestSizeLimit(t *testing.T) {
	ballast := make([]byte, 4<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(ballast)
	for name, text := range map[string]string{
		"Cell.toml":   "[package]\nname = \"x\"\n# " + string(ballast),
		"ballast.bin": string(ballast),
	} {
		r := exchange(t)
		r.write(name, text)
		r.commit("v1.0.0")
		for kind, url := range map[string]string{"disk": r.dir, "filtering host": serve(t, r, "uploadpack.allowFilter=true").url()} {
			s := newSource(t, Config{MaxBytes: 1 << 20})
			m, err := s.Manifest(t.Context(), url, "v1.0.0")
			if name == "ballast.bin" && kind == "filtering host" {
				if err != nil {
					t.Errorf("%s, %s: what is not read is not fetched, but %v", name, kind, err)
				}
				continue
			}
			var limit *LimitError
			if !errors.As(err, &limit) || !strings.Contains(err.Error(), "1048576 bytes") {
				t.Errorf("%s, %s: %+v, %v", name, kind, m, err)
			}
			if n := size(filepath.Join(s.cfg.CacheDir, "git")); n > 0 {
				t.Errorf("%s, %s: %d bytes are left", name, kind, n)
			}
			dirs, err := filepath.Glob(filepath.Join(s.cfg.CacheDir, "git", "*", "objects"))
			if err != nil || len(dirs) != 0 {
				t.Errorf("%s, %s: %q are left, %v", name, kind, dirs, err)
			}
		}
	}
}

// Objects that git's own checks refuse never get into the cache.
func TestBrokenObjectsAreRefused(t *testing.T) {
	r := exchange(t)
	blob := r.git("hash-object", "-w", "README.md")
	r.write("tree", "100644 blob "+blob+"\t.git\n") // a folder with a .git in it
	cmd := "git mktree < tree > tree.id && git commit-tree -m m $(cat tree.id) > commit.id && git tag --force v1.0.0 $(cat commit.id)"
	r.shell(cmd)
	_, err := newSource(t, Config{}).Manifest(t.Context(), r.dir, "v1.0.0")
	var host *UnreachableError
	if !errors.As(err, &host) {
		t.Errorf("%v", err)
	}
}

func TestParseTree(t *testing.T) {
	raw := strings.Repeat("\x01", 20)
	names, err := parseTree([]byte("100644 a\x00"+raw+"40000 b\x00"+raw), 20)
	if err != nil || len(names) != 2 || names["b"].mode != "40000" || names["a"].object != strings.Repeat("01", 20) {
		t.Errorf("%v, %v", names, err)
	}
	for _, bad := range []string{"x", "100644 a", "100644 a\x00" + raw[1:], "a\x00" + raw} {
		if names, err := parseTree([]byte(bad), 20); err == nil {
			t.Errorf("%q: %v", bad, names)
		}
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00"+strings.Repeat("\x01", 20)), false)
	f.Add([]byte("40000 b\x00"+strings.Repeat("\x01", 32)), true)
	f.Fuzz(func(t *testing.T, data []byte, sha256 bool) {
		size := 20
		if sha256 {
			size = 32
		}
		names, err := parseTree(data, size)
		if err != nil {
			return
		}
		for name, e := range names {
			if len(e.object) != 2*size || strings.Contains(name, "\x00") {
				t.Fatalf("%q: %+v", name, e)
			}
		}
	})
}
