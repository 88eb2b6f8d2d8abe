package home

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
)

func take(t *testing.T, d *Dir, name string) *Key {
	t.Helper()
	key, err := d.Key(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { key.Close() })
	return key
}

func TestThreeInstancesOfOneNameAreThreePeers(t *testing.T) {
	d := open(t)
	first, second, third := take(t, d, "exchange"), take(t, d, "exchange"), take(t, d, "exchange")
	for i, key := range []*Key{first, second, third} {
		if want := []string{"exchange", "exchange.1", "exchange.2"}[i]; key.Name != want {
			t.Errorf("instance %d is %s, want %s", i, key.Name, want)
		}
	}
	if first.Peer == second.Peer || second.Peer == third.Peer || first.Peer == third.Peer {
		t.Error("two instances are one peer")
	}
	was := second.Peer
	second.Close()
	second.Close()
	if again := take(t, d, "exchange"); again.Name != "exchange.1" || again.Peer != was {
		t.Errorf("the freed identity was not taken again: got %s", again.Name)
	}
}

func TestManyAtOnceNeverShareAnIdentity(t *testing.T) {
	d := open(t)
	const n = 16
	var group sync.WaitGroup
	peers := make(chan string, n)
	for range n {
		group.Go(func() {
			key, err := d.StoredKey("exchange")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { key.Close() })
			peers <- key.Peer.String()
		})
	}
	group.Wait()
	close(peers)
	seen := map[string]bool{}
	for p := range peers {
		if seen[p] {
			t.Errorf("peer %s was given out twice", p)
		}
		seen[p] = true
	}
	left, _ := filepath.Glob(d.Path("keys", "*new*"))
	if len(seen) != n || len(left) > 0 {
		t.Errorf("%d identities, want %d; left behind: %v", len(seen), n, left)
	}
}

func TestIdentityOfAKilledProcessIsFree(t *testing.T) {
	d := open(t)
	process, name := startHolder(t, d.Path())
	if name != "exchange" {
		t.Fatalf("the other process got %q", name)
	}
	key := take(t, d, "exchange")
	if key.Name != "exchange.1" {
		t.Errorf("got %s beside the living holder, want exchange.1", key.Name)
	}
	key.Close()
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	if key := take(t, d, "exchange"); key.Name != "exchange" {
		t.Errorf("got %s after the holder's death, want exchange", key.Name)
	}
}

func TestKeyFilesAreOneClosedLine(t *testing.T) {
	d := open(t)
	key := take(t, d, "exchange")
	path := d.Path("keys", "exchange")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if hasModes && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o, want 0600", info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line, err := EncodeKey(key.Priv)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != line+"\n" {
		t.Errorf("file holds %d bytes, want the line of EncodeKey", len(text))
	}
	if err := WriteKey(path, key.Priv); !errors.Is(err, fs.ErrExist) {
		t.Errorf("WriteKey over a key: %v, want fs.ErrExist", err)
	}
}

func TestDamagedKeysAreErrorsAndStay(t *testing.T) {
	rsa, _, err := crypto.GenerateKeyPair(crypto.RSA, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wrongKind, err := EncodeKey(rsa)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, text string }{
		{"empty", ""},
		{"cut short", "CAESQ"},
		{"not base64", "-----BEGIN PRIVATE KEY-----"},
		{"no key inside", "aGVsbG8gd29ybGQ="},
		{"not Ed25519", wrongKind},
		{"endless", strings.Repeat("A", 2*maxKeyFile)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := open(t)
			dir, err := d.Sub("keys")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "exchange")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = d.Key("exchange")
			wantError(t, err, path, "backup")
			if text, _ := os.ReadFile(path); string(text) != tt.text {
				t.Error("the damaged key was replaced")
			}
			if _, err := os.Stat(path + ".1"); err == nil {
				t.Error("the damaged key was passed over")
			}
		})
	}
}

func TestKeysOpenToOthersAreRefused(t *testing.T) {
	if !hasModes {
		t.Skip("no modes here")
	}
	d := open(t)
	take(t, d, "exchange").Close()
	path := d.Path("keys", "exchange")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := d.Key("exchange")
	wantError(t, err, path, "mode 0640", "chmod 600 ")
}

func TestBadNamesNeverBecomePaths(t *testing.T) {
	d := open(t)
	for _, name := range []string{"", "../x", "a/b", "A", "-x", "x.1", strings.Repeat("x", 49)} {
		if _, err := d.StoredKey(name); err == nil {
			t.Errorf("StoredKey(%q) gave a key", name)
		}
		if _, err := d.Claim(name, "bafk"); err == nil {
			t.Errorf("Claim(%q) gave a name", name)
		}
	}
}
