package manifest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"unicode/utf8"
)

// The types below fix the names and the order of the keys.
type (
	publishedJSON struct {
		Name       string            `json:"name"`
		Repository string            `json:"repository"`
		Tag        string            `json:"tag"`
		Commit     string            `json:"commit,omitempty"`
		Interface  *interfaceJSON    `json:"interface,omitempty"`
		Build      *buildJSON        `json:"build,omitempty"`
		Trust      *trustJSON        `json:"trust,omitempty"`
		Binaries   []binaryJSON      `json:"binaries,omitempty"`
		Files      map[string]string `json:"files,omitempty"`
	}
	interfaceJSON struct {
		Files       []string `json:"files"`
		ImportRoots []string `json:"import_roots,omitempty"`
		Fingerprint string   `json:"fingerprint"`
		Descriptors string   `json:"descriptors,omitempty"`
	}
	buildJSON struct {
		Package string   `json:"package,omitempty"`
		Command []string `json:"command,omitempty"`
		Output  string   `json:"output,omitempty"`
	}
	trustJSON struct {
		Keys      []string `json:"keys"`
		Threshold int      `json:"threshold"`
	}
	binaryJSON struct {
		OS     string `json:"os"`
		Arch   string `json:"arch"`
		Commit string `json:"commit"`
		Go     string `json:"go,omitempty"`
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
		URL    string `json:"url,omitempty"`
		Record string `json:"record,omitempty"`
	}
)

// Marshal writes the Cell.json, indented and sorted. What ParsePublished would refuse is an error.
func (p *Published) Marshal() ([]byte, error) {
	out := publishedJSON{Name: p.Name, Repository: p.Repository, Tag: p.Tag, Commit: p.Commit}
	if i := p.Interface; len(i.Files) > 0 {
		out.Interface = &interfaceJSON{i.Files, i.ImportRoots, i.Fingerprint, base64.StdEncoding.EncodeToString(i.Descriptors)}
	}
	if b := p.Build; b.Package != "" || b.Command != nil {
		out.Build = &buildJSON{b.Package, b.Command, b.Output}
	}
	if p.Trust != nil {
		out.Trust = &trustJSON{p.Trust.Keys, p.Trust.Threshold}
	}
	binaries := slices.Clone(p.Binaries)
	sortBinaries(binaries)
	for _, b := range binaries {
		record := base64.StdEncoding.EncodeToString(b.Record)
		out.Binaries = append(out.Binaries, binaryJSON{b.OS, b.Arch, b.Commit, b.Go, b.SHA256, b.Size, b.URL, record})
	}
	for path, data := range p.Files {
		if !utf8.Valid(data) {
			return nil, fmt.Errorf("manifest: Cell.json: file %q is not UTF-8 and cannot be carried; leave Files out", path)
		}
		if out.Files == nil {
			out.Files = make(map[string]string, len(p.Files))
		}
		out.Files[path] = string(data)
	}
	data, err := marshalJSON(out)
	if err != nil {
		return nil, err
	}
	if _, err := ParsePublished("Cell.json", data); err != nil {
		return nil, fmt.Errorf("cannot be written: %w", err)
	}
	return data, nil
}
