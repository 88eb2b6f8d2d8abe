package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/cellnode/cellnode/manifest"
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

// SaveGrant puts a grant there, in place of the one that there is.
func (d *Dir) SaveGrant(name, text string) error {
	return unwritable(manifest.WriteFile(d.GrantPath(name), []byte(text+"\n"), 0o600))
}

// issuerName is the key by which a machine may grant.
const issuerName = "issuer"

// IssuePath is where the grant lies by which this machine's keys/issuer may grant to instances of a service of this name.
func (d *Dir) IssuePath(name string) string { return d.Path("keys", name+".issue") }

// Issuer returns that key and the text of that grant; without a file at IssuePath it returns nil.
func (d *Dir) Issuer(name string) (crypto.PrivKey, string, error) {
	text, err := readGrant(d.IssuePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	key, err := ReadKey(d.Path("keys", issuerName))
	return key, text, err
}

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
