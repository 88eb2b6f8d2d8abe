package source

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// ahead fetches files together that are about to be read one after the other. It saves round trips and nothing else: what
// it leaves out, or fails at, git fetches when it is read. More than maxAhead files are not what this is for.
func (o *objects) ahead(match func(path string) bool) error {
	if o.fetch == nil {
		return nil
	}
	var wanted []string
	folders := []struct{ path, object string }{{"", o.root}}
	for visited := 0; len(folders) > 0 && len(wanted) <= maxAhead; visited++ {
		folder := folders[0]
		folders = folders[1:]
		names, err := o.tree(folder.object)
		if err != nil || visited > maxFolders {
			return err
		}
		for name, e := range names {
			path := folder.path + name
			switch {
			case e.mode == "40000":
				folders = append(folders, struct{ path, object string }{path + "/", e.object})
			case strings.HasPrefix(e.mode, "100") && match(path):
				wanted = append(wanted, e.object)
			}
		}
	}
	if len(wanted) == 0 || len(wanted) > maxAhead {
		return nil
	}
	slices.Sort(wanted)
	_ = o.fetch(slices.Compact(wanted)) // reading them will tell
	return nil
}

// parseTree reads git's form of a folder: mode, blank, name, zero byte and the raw object name, again and again.
func parseTree(data []byte, rawSize int) (map[string]entry, error) {
	names := map[string]entry{}
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, named := bytes.Cut(head, []byte{' '})
		if !ok || !named || len(rest) < rawSize {
			return nil, errors.New("has a broken folder object")
		}
		names[string(name)] = entry{mode: string(mode), object: hex.EncodeToString(rest[:rawSize])}
		data = rest[rawSize:]
	}
	return names, nil
}

// tree reads a folder, once.
func (o *objects) tree(object string) (map[string]entry, error) {
	if names, ok := o.trees[object]; ok {
		return names, nil
	}
	_, data, err := o.part(object, "tree", maxTree)
	if err != nil {
		return nil, fault(err)
	}
	names, err := parseTree(data, len(object)/2)
	o.trees[object] = names
	return names, fault(err)
}

// Bounds of what is fetched ahead of being read.
const (
	maxAhead   = 64
	maxFolders = 1000
)
