package source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cellnode/cellnode/manifest"
)

// maxDescriptors is how large a descriptor set is carried; whoever needs a larger one compiles the files beside it.
const maxDescriptors = 1 << 20

// Published is the Cell.json of the repository that dir lies in, at a tag: what its objects say, whatever lies in the
// working tree. An empty tag is the one that HEAD has. With it in hand a consumer needs no git.
func (s *Source) Published(ctx context.Context, dir, tag string) (*manifest.Published, error) {
	root, _, err := packageFile(dir)
	if err != nil {
		return nil, err
	}
	if tag == "" {
		if tag, err = onlyTag(ctx, root); err != nil {
			return nil, err
		}
	}
	m, err := s.Manifest(ctx, root, tag)
	if err != nil {
		return nil, err
	}
	cell := m.Cell
	if m.File.Package.Repository == "" {
		origin, err := local(ctx, root, "remote", "get-url", "origin")
		if err == nil {
			cell, err = manifest.NewCell(origin, tag)
		}
		if err != nil || strings.HasPrefix(cell.Repository, "file:") {
			return nil, fmt.Errorf("source: %s: git's origin is no address that others can fetch from: write repository = \"https://…\" under [package], and tag that", root)
		}
	}
	return m.published(cell)
}

// published is a manifest as Cell.json has it.
func (m *Manifest) published(cell manifest.Cell) (*manifest.Published, error) {
	p := m.File.Package
	for name, data := range m.Raw {
		if !utf8.Valid(data) {
			return nil, fmt.Errorf("source: interface file %s is not UTF-8, and so cannot be carried in JSON: consumers of this cell read git", name)
		}
	}
	out := &manifest.Published{
		Name: p.Name, Repository: cell.Repository, Tag: cell.Tag, Commit: m.Commit, Build: m.File.Build, Trust: m.File.Trust, Files: m.Raw,
		Interface: manifest.PublishedInterface{Files: p.Interface, ImportRoots: p.ImportRoots, Fingerprint: m.Fingerprint},
	}
	compiled, err := manifest.Compile(m.Raw, p.Interface, p.ImportRoots)
	if err != nil {
		return nil, err
	}
	set, err := manifest.DescriptorSet(compiled)
	if len(set) <= maxDescriptors {
		out.Interface.Descriptors = set
	}
	return out, err
}

// onlyTag is the tag that HEAD has.
func onlyTag(ctx context.Context, dir string) (string, error) {
	out, err := local(ctx, dir, "tag", "--points-at", "HEAD")
	if err != nil {
		return "", err
	}
	tags := strings.Fields(out)
	slices.Sort(tags)
	switch len(tags) {
	case 1:
		return tags[0], nil
	case 0:
		return "", fmt.Errorf("source: the commit in %s has no tag to publish: `git tag v1.2.3`, or name one with --tag", dir)
	}
	return "", fmt.Errorf("source: the commit in %s has several tags (%s): name one with --tag", dir, strings.Join(tags, ", "))
}

// IsTracked reports whether git has a file of the working tree in its index. A repository that cannot be asked has none.
func IsTracked(ctx context.Context, dir, path string) bool {
	_, err := local(ctx, dir, "ls-files", "--error-unmatch", "--", path)
	return err == nil
}
