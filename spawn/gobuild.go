package spawn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/spawn/sandbox"
)

// make runs the recipe; out gets the binary.
func (j *job) make(ctx context.Context, out *os.File) error {
	vendored, needs, err := j.modules()
	if err != nil {
		return err
	}
	if needs && !vendored {
		if err := j.download(ctx); err != nil {
			return err
		}
	}
	if j.recipe.Build.Command != nil {
		j.cfg.Progress("compile", j.recipe.Cell.String())
		return j.runCommand(ctx, out)
	}
	return j.goBuild(ctx, out, vendored)
}

// modules says whether the module at the root needs others, and brings them along.
func (j *job) modules() (vendored, needs bool, err error) {
	data, err := os.ReadFile(j.path("src", "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		if j.recipe.Build.Command != nil {
			return false, false, nil
		}
		return false, false, j.failed("modules", "there is no go.mod at its root; its Cell.toml may name another way under [build]", "")
	}
	if err != nil {
		return false, false, fmt.Errorf("spawn: %w", err)
	}
	mod, err := modfile.ParseLax("go.mod", data, nil)
	if err != nil {
		return false, false, j.failed("modules", err.Error(), "")
	}
	_, statErr := os.Stat(j.path("src", "vendor", "modules.txt"))
	return statErr == nil, len(mod.Require) > 0, nil
}

// environment is all that a step sees of one. What a repository, a user's settings or a parent could put there to
// change the build is switched off.
func (j *job) environment(goCache string, more ...string) []string {
	scratch := j.path("scratch")
	return append([]string{
		"PATH=" + j.tools.root + "/bin:/usr/local/bin:/usr/bin:/bin", "HOME=" + scratch, "TMPDIR=" + scratch, "LC_ALL=C", "TZ=UTC",
		"GOROOT=" + j.tools.root, "GOPATH=" + filepath.Join(scratch, "gopath"), "GOMODCACHE=" + j.modCache(), "GOCACHE=" + goCache,
		"GOENV=off", "GOWORK=off", "GOTOOLCHAIN=local", "GOTELEMETRY=off", "GO111MODULE=on", "CGO_ENABLED=0", "SOURCE_DATE_EPOCH=0",
	}, more...)
}

// offline closes Go's ways to a network, which the box does not have anyway, for clear messages.
var offline = []string{"GOPROXY=off", "GOSUMDB=off", "GOVCS=*:off", "GOFLAGS="}

func (j *job) modCache() string { return j.cfg.Cache.path("go", "mod") }
func (j *job) goCache() string  { return j.cfg.Cache.path("go", "build") }

// privateCache is a build cache that goes with the box.
func (j *job) privateCache() string { return j.path("scratch", "gocache") }

// ownedDir makes a folder of the cache that builds write to.
func ownedDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("spawn: %w", err)
	}
	uid, gid := sandbox.User(boxName)
	if uid == os.Geteuid() {
		return nil
	}
	return os.Chown(path, uid, gid)
}

// download brings the modules in. It is the one step with a network, and runs nothing of the repository; what comes is
// checked against the repository's go.sum. Modules that this user has already are taken from there.
func (j *job) download(ctx context.Context) error {
	j.cfg.Progress("modules", j.recipe.Cell.String())
	if err := ownedDir(j.modCache()); err != nil {
		return err
	}
	user, err := goSettings(ctx, j.tools.command(), "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE")
	if err != nil {
		return err
	}
	there := filepath.Join(user["GOMODCACHE"], "cache", "download")
	proxy := user["GOPROXY"]
	if info, err := os.Stat(there); err == nil && info.IsDir() {
		proxy = "file://" + there + "," + proxy
	}
	env := j.environment(j.privateCache(), "GOFLAGS=-modcacherw -mod=readonly", "GOVCS=public:git|hg,private:all", "GOPROXY="+proxy)
	for _, name := range []string{"GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOPRIVATE"} {
		env = append(env, name+"="+user[name])
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	_, err = j.play(ctx, "modules", sandbox.Box{
		Args: []string{j.tools.command(), "mod", "download"}, Dir: j.path("src"), Env: env,
		Read:  slices.Concat([]string{j.tools.root, j.path("src"), there}, systemPaths, certificates()),
		Write: []string{j.modCache()}, Scratch: j.path("scratch"), Network: true,
	})
	return err
}

// certificates are where this user says that certificates lie, besides the usual places.
func certificates() []string {
	return slices.DeleteFunc([]string{os.Getenv("SSL_CERT_FILE"), os.Getenv("SSL_CERT_DIR")}, func(p string) bool { return !filepath.IsAbs(p) })
}

// systemPaths are those of the system's programs and libraries, the same for all users.
var systemPaths = []string{"/usr", "/bin", "/lib", "/lib64", "/etc/alternatives"}

// goBuild compiles the one package. The compiler and the linker run, and nothing of the repository does; what they leave
// in the build cache is thrown away with the box, so that no repository can leave anything for another.
func (j *job) goBuild(ctx context.Context, out *os.File, vendored bool) error {
	mode := "-mod=readonly"
	if vendored {
		mode = "-mod=vendor"
	}
	pkg := goPackage(j.recipe.Build)
	box := sandbox.Box{
		Dir: j.path("src"), Read: []string{j.tools.root, j.path("src"), j.modCache()}, Scratch: j.path("scratch"),
	}
	goCache := j.privateCache()
	if sandbox.Probe().Mounts() && !j.cfg.Open {
		goCache = j.goCache()
		box.Layered = []string{goCache}
		if err := j.prime(ctx, box, mode, pkg); err != nil {
			return err
		}
	}
	j.cfg.Progress("compile", j.recipe.Cell.String())
	output := j.path("scratch", "output")
	box.Args = append([]string{j.tools.command(), "build", mode, "-o", output, "-ldflags=-buildid="}, append(compileFlags, pkg)...)
	box.Env = j.environment(goCache, offline...)
	return j.collect(ctx, box, output, out)
}

// compileFlags are those that every compilation has, so that the standard library is compiled once.
var compileFlags = []string{"-trimpath", "-buildvcs=false", "-pgo=off"}

func goPackage(b manifest.Build) string {
	folder := strings.Trim(strings.TrimPrefix(b.Package, "./"), "/")
	if folder == "" || folder == "." {
		return "."
	}
	return "./" + folder
}

// collect runs a step whose output is the binary.
func (j *job) collect(ctx context.Context, box sandbox.Box, output string, out *os.File) error {
	box.Collect, box.CollectTo, box.CollectMax = output, out, j.cfg.Limits.Disk
	if _, err := j.play(ctx, "compile", box); err != nil {
		return err
	}
	if info, err := out.Stat(); err != nil || info.Size() == 0 {
		return errors.Join(err, j.failed("output", "the binary is empty", ""))
	}
	return nil
}

// isStandard matches import paths of the standard library: their first part has no dot.
var isStandard = regexp.MustCompile(`^[a-z0-9][a-z0-9_]*(/[a-zA-Z0-9._-]+)*$`).MatchString

// prime compiles what the package needs of the standard library into the cache that all builds read, and that they cannot
// write. Nothing of the repository takes part but the names of those packages.
func (j *job) prime(ctx context.Context, box sandbox.Box, mode, pkg string) error {
	if err := ownedDir(j.goCache()); err != nil {
		return err
	}
	box.Args = []string{j.tools.command(), "list", mode, "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}", pkg}
	box.Env = j.environment(j.goCache(), offline...)
	said, err := j.play(ctx, "compile", box)
	if err != nil {
		return err
	}
	var packages []string
	for line := range strings.Lines(said) {
		if name := strings.TrimSpace(line); isStandard(name) && name != "unsafe" {
			packages = append(packages, name)
		}
	}
	record := j.cfg.Cache.path("go", "primed-"+j.tools.version)
	lock, err := lockFile(ctx, record+".lock")
	if err != nil {
		return err
	}
	defer lock.Close()
	data, _ := os.ReadFile(record)
	primed := strings.Fields(string(data))
	missing := slices.DeleteFunc(packages, func(p string) bool { return slices.Contains(primed, p) })
	if len(missing) == 0 {
		return nil
	}
	j.cfg.Progress("library", j.recipe.Cell.String()) // the standard one, as far as no cell has needed it before
	_, err = j.play(ctx, "compile", sandbox.Box{
		Args:  append(append([]string{j.tools.command(), "build"}, compileFlags...), missing...),
		Env:   j.environment(j.goCache(), offline...),
		Read:  []string{j.tools.root},
		Write: []string{j.goCache()}, Scratch: j.path("scratch"),
	})
	if err != nil {
		return err
	}
	return manifest.WriteFile(record, []byte(strings.Join(append(primed, missing...), "\n")), 0o600)
}

// runCommand runs the repository's own command on a copy of its files.
func (j *job) runCommand(ctx context.Context, out *os.File) error {
	src := j.path("scratch", "src") // where the sandbox copies to
	argv := slices.Clone(j.recipe.Build.Command)
	env := j.environment(j.privateCache(), offline...)
	switch program := argv[0]; {
	case filepath.IsAbs(program):
	case strings.Contains(program, "/"):
		argv[0] = filepath.Join(src, program)
	default:
		for _, dir := range []string{filepath.Join(j.tools.root, "bin"), "/usr/local/bin", "/usr/bin", "/bin"} {
			if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
				argv[0] = filepath.Join(dir, program)
				break
			}
		}
	}
	if !filepath.IsAbs(argv[0]) {
		return j.failed("compile", fmt.Sprintf("there is no program %q here, which its [build] command names", argv[0]), "")
	}
	return j.collect(ctx, sandbox.Box{
		Args: argv, Dir: src, Env: env, Copy: j.path("src"), Scratch: j.path("scratch"),
		Read: append([]string{j.tools.root, j.modCache()}, systemPaths...),
	}, filepath.Join(src, filepath.FromSlash(j.recipe.Build.Output)), out)
}
