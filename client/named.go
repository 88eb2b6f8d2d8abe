package client

import (
	"fmt"
	"slices"

	"github.com/cellnode/cellnode/manifest"
)

// Named resolves every cell that the nearest Cell.toml names, sorted by name. It reads files alone; without a Cell.toml it
// returns the error that a cell's name would get.
func Named(dir string) ([]*Resolved, error) {
	path, err := cellFile(dir)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	data, err := readFile(path, manifest.MaxFileSize)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	file, err := manifest.ParseFile(path, data)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(file.Cells))
	for name := range file.Cells {
		names = append(names, name)
	}
	slices.Sort(names)
	var list []*Resolved
	for _, name := range names {
		r, err := resolveIn(path, name)
		if err != nil {
			return list, err
		}
		list = append(list, r)
	}
	return list, nil
}
