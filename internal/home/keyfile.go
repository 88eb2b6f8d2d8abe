package home

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cellnode/cellnode/manifest"
	"github.com/libp2p/go-libp2p/core/crypto"
)

// maxKeyFile bounds a key file, in bytes; one holds 93.
const maxKeyFile = 4096

var errNotKey = errors.New("not a libp2p private key (one line of base64, Ed25519)")

// EncodeKey returns the line that a key file and CELL_KEY hold: standard base64 of the libp2p private-key protobuf.
func EncodeKey(priv crypto.PrivKey) (string, error) {
	raw, err := crypto.MarshalPrivateKey(priv)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// ReadKey reads one key file. It must be the user's own and closed to others; an absent one is fs.ErrNotExist.
func ReadKey(path string) (crypto.PrivKey, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if err := checkFile(path, info); err != nil {
		return nil, err
	}
	return readKey(path)
}

// WriteKey makes a key file, 0600: whole or not at all, and never over another one (fs.ErrExist).
func WriteKey(path string, priv crypto.PrivKey) error {
	line, err := EncodeKey(priv)
	if err != nil {
		return err
	}
	return unwritable(manifest.CreateFile(path, []byte(line+"\n"), 0o600))
}

func readKey(path string) (crypto.PrivKey, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	priv, err := decodeKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("home: %s: %w: restore it from a backup, or move it away to get a new identity, "+
			"which needs new grants", path, err)
	}
	return priv, nil
}

// decodeKey takes standard and URL base64, with and without padding. Its errors never show the text.
func decodeKey(text string) (crypto.PrivKey, error) {
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(strings.TrimSpace(text), "="))
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(text) > maxKeyFile {
		return nil, errNotKey
	}
	priv, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil || priv.Type() != crypto.Ed25519 {
		return nil, errNotKey
	}
	return priv, nil
}

// parseEnvironmentKey reads CELL_KEY's value. What is neither key nor path is not shown: it may be most of a secret.
func parseEnvironmentKey(value string) (crypto.PrivKey, error) {
	if priv, err := decodeKey(value); err == nil {
		return priv, nil
	}
	info, err := os.Stat(value)
	switch {
	case err != nil && !filepath.IsAbs(value) && !strings.HasPrefix(value, "."):
		return nil, fmt.Errorf("home: CELL_KEY is %w, nor the path of one", errNotKey)
	case err != nil:
		return nil, fmt.Errorf("home: CELL_KEY: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("home: CELL_KEY: %s is %s, not a file", value, kind(info.Mode()))
	case hasModes && info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("home: CELL_KEY: others may write %s (mode %#o): run 'chmod go-w %s'",
			value, info.Mode().Perm(), value)
	}
	return readKey(value)
}
