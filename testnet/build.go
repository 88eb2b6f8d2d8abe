package testnet

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/cellnode/cellnode/manifest"
)

// build clones a cell at its tag and builds its service, once for each network. It returns the binary and the checkout.
func (n *Net) build(ctx context.Context, spec Spec) (binary, checkout string, err error) {
	if spec.Repository == "" {
		return "", "", nil
	}
	if err := manifest.CheckTag(spec.Tag); err != nil {
		return "", "", err
	}
	n.building.Lock()
	defer n.building.Unlock()
	name := filepath.Base(spec.Repository) + "@" + filepath.Base(spec.Tag)
	checkout = filepath.Join(n.dir, "src", name)
	binary = filepath.Join(n.dir, "bin", name)
	if n.built[name] != "" {
		return binary, checkout, nil
	}
	if _, err := os.Stat(binary); err == nil {
		return binary, checkout, nil
	}
	repository, err := filepath.Abs(spec.Repository)
	if err != nil {
		return "", "", fmt.Errorf("testnet: %w", err)
	}
	if err := command(ctx, "", "git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--branch", spec.Tag, "--", repository, checkout); err != nil {
		return "", "", err
	}
	path := filepath.Join(checkout, "Cell.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("testnet: %s is no cell: %w", spec.Repository, err)
	}
	file, err := manifest.ParseFile(path, data)
	if err != nil {
		return "", "", err
	}
	pkg := file.Build.Package
	if pkg == "" {
		pkg = "."
	}
	if err := command(ctx, checkout, "go", "build", "-o", binary, pkg); err != nil {
		return "", "", err
	}
	n.built[name] = binary
	return binary, checkout, nil
}

func command(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("testnet: %s %s: %w\n%s", name, args[0], err, bytes.TrimSpace(out))
	}
	return nil
}
