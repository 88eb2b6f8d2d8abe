package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCellKeyIsALineOrAPath(t *testing.T) {
	d := open(t)
	stored := take(t, d, "exchange")
	line, err := EncodeKey(stored.Priv)
	if err != nil {
		t.Fatal(err)
	}
	mounted := filepath.Join(t.TempDir(), "secret") // as Kubernetes mounts one: a link, readable by all
	if err := os.WriteFile(mounted+".data", []byte(line), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(mounted+".data", mounted); err != nil {
		t.Skip(err)
	}
	for name, value := range map[string]string{
		"line":               line,
		"line with newline":  line + "\n",
		"line unpadded, URL": strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(line), "="),
		"path":               mounted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("CELL_KEY", value)
			key := take(t, d, "other")
			if key.Peer != stored.Peer || key.Name != "CELL_KEY" {
				t.Errorf("got %s %s, want the key of CELL_KEY", key.Name, key.Peer)
			}
			if n, err := key.Incarnation(0, nil); err != nil || n == 0 {
				t.Errorf("Incarnation: %d, %v", n, err)
			}
			if _, err := d.Key("other"); !errors.Is(err, ErrHeld) {
				t.Errorf("a second holder of CELL_KEY: %v, want ErrHeld", err)
			}
			if own, err := d.StoredKey("other"); err != nil || own.Peer == stored.Peer {
				t.Errorf("StoredKey heeds CELL_KEY: %v", err)
			} else {
				own.Close()
			}
		})
	}
}

func TestBadCellKeyIsNotShown(t *testing.T) {
	d := open(t)
	writable := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(writable, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(writable, 0o666); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, value string
		want        []string
		secret      bool
	}{
		{"half a key", "CAESQLongSecretStart", []string{"CELL_KEY", "base64"}, true},
		{"absent path", "/nowhere/key", []string{"CELL_KEY", "/nowhere/key"}, false},
		{"directory", os.TempDir(), []string{"a directory"}, false},
		{"writable by others", writable, []string{"chmod go-w"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !hasModes && strings.HasPrefix(tt.name, "writable") {
				t.Skip("no modes here")
			}
			t.Setenv("CELL_KEY", tt.value)
			_, err := d.Key("exchange")
			wantError(t, err, tt.want...)
			if tt.secret && strings.Contains(err.Error(), tt.value) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}
