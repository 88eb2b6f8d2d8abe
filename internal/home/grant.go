package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// maxGrantFile bounds a grant file, in bytes; one of two grants holds some 800.
const maxGrantFile = 4096

// Grant returns the text of the grant of an identity, by its Key.Name: CELL_GRANT, which holds it or the path of a file with
// it, or else keys/NAME.grant. Without one it is empty.
func (d *Dir) Grant(name string) (string, error) {
	value := strings.TrimSpace(os.Getenv("CELL_GRANT"))
	switch {
	case value == "":
		text, err := readGrant(d.GrantPath(name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return text, err
	case strings.ContainsAny(value[:1], "/.~"):
		return readGrant(value)
	}
	return value, nil
}

// GrantPath is where the grant of an identity lies.
func (d *Dir) GrantPath(name string) string { return d.Path("keys", name+".grant") }

func readGrant(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	if info.Size() > maxGrantFile {
		return "", fmt.Errorf("home: %s has %d bytes: a grant has %d at most", path, info.Size(), maxGrantFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}
