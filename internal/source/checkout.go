package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// A Checkout is a working tree of a cell's repository, at a tag.
type Checkout struct {
	Dir         string // where Cell.toml lies
	File        *manifest.File
	Cell        manifest.Cell
	Commit      string            // hex
	Fingerprint string            // of the interface files in the tree, hex
	Raw         map[string][]byte // the interface files and what they import, by path
}

// ReadCheckout reads the checkout that dir lies in: the nearest Cell.toml with a [package], upwards, and what git says of
// HEAD. The tree must be clean and HEAD must have exactly one tag, because that is what the instance will be known as.
func ReadCheckout(ctx context.Context, dir string) (*Checkout, error) {
	root, file, err := packageFile(dir)
	if err != nil {
		return nil, err
	}
	c := &Checkout{Dir: root, File: file}
	if err = c.readInterface(); err != nil {
		return nil, err
	}
	if c.Commit, err = local(ctx, root, "rev-parse", "--verify", "HEAD^{commit}"); err != nil {
		return nil, err
	}
	if err := clean(ctx, root); err != nil {
		return nil, err
	}
	tag, err := headTag(ctx, root)
	if err != nil {
		return nil, err
	}
	repository := file.Package.Repository
	if repository == "" {
		if repository, err = local(ctx, root, "remote", "get-url", "origin"); err != nil {
			return nil, fmt.Errorf("source: %s: which repository is this? write repository = \"https://…\" under [package]: %w", filepath.Join(root, "Cell.toml"), err)
		}
	}
	c.Cell, err = manifest.NewCell(repository, tag)
	return c, err
}

// OpenCheckout reads the nearest Cell.toml with a [package] and its interface, and leaves git out: for an instance whose
// cell and commit are given otherwise.
func OpenCheckout(dir string) (*Checkout, error) {
	root, file, err := packageFile(dir)
	if err != nil {
		return nil, err
	}
	c := &Checkout{Dir: root, File: file}
	return c, c.readInterface()
}

// ErrNoPackage says that no Cell.toml of a cell lies in a directory or above it.
var ErrNoPackage = errors.New("source: no Cell.toml with a [package] here or above")

func packageFile(dir string) (root string, file *manifest.File, err error) {
	if root, err = filepath.Abs(dir); err != nil {
		return "", nil, fmt.Errorf("source: %w", err)
	}
	for {
		path := filepath.Join(root, "Cell.toml")
		if info, err := os.Stat(path); err == nil && info.Size() <= manifest.MaxFileSize {
			data, err := os.ReadFile(path)
			if err != nil {
				return "", nil, fmt.Errorf("source: %w", err)
			}
			if file, err = manifest.ParseFile(path, data); err != nil {
				return "", nil, err
			}
			if file.Package != nil {
				return root, file, nil
			}
		}
		parent := filepath.Dir(root)
		if parent == root {
			return "", nil, ErrNoPackage
		}
		root = parent
	}
}

func (c *Checkout) readInterface() (err error) {
	p, tree := c.File.Package, os.DirFS(c.Dir)
	c.Raw, err = manifest.InterfaceFiles(p.Interface, p.ImportRoots, func(path string) ([]byte, error) {
		return fs.ReadFile(tree, path)
	})
	if err == nil {
		c.Fingerprint, err = manifest.Fingerprint(c.Raw, p.Interface, p.ImportRoots)
	}
	return err
}

// CheckInterface returns what is wrong with the interface that a Cell.toml in dir would declare, or nil.
func CheckInterface(dir string, file *manifest.File) error {
	c := &Checkout{Dir: dir, File: file}
	return c.readInterface()
}

func clean(ctx context.Context, dir string) error {
	changed, err := local(ctx, dir, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if changed != "" {
		first, _, _ := strings.Cut(changed, "\n")
		return fmt.Errorf("source: %s differs from its commit (%s): commit and tag it, or say what runs with --cell and --commit", dir, strings.TrimSpace(first))
	}
	return nil
}

func headTag(ctx context.Context, dir string) (string, error) {
	out, err := local(ctx, dir, "tag", "--points-at", "HEAD")
	if err != nil {
		return "", err
	}
	switch tags := strings.Fields(out); len(tags) {
	case 1:
		return tags[0], nil
	case 0:
		return "", fmt.Errorf("source: the commit in %s has no tag: `git tag v1.2.3`, or say what runs with --cell and --commit", dir)
	default:
		return "", fmt.Errorf("source: the commit in %s has several tags (%s): say which with --cell and --commit", dir, strings.Join(tags, ", "))
	}
}

// local asks git about the user's own working tree, whose configuration is the user's to trust.
func local(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-pager", "--no-optional-locks"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if text := strings.TrimSpace(stderr.String()); text != "" {
			return "", fmt.Errorf("source: git %s: %s", args[0], text)
		}
		return "", fmt.Errorf("source: git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
