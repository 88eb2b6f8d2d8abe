package home

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMain plays the other process: it holds an identity and a registration until its standard input ends.
func TestMain(m *testing.M) {
	if root := os.Getenv("HOME_TEST_HOLD"); root != "" {
		hold(root)
		return
	}
	for _, name := range []string{"HOME", "KEY", "BOOTSTRAP", "LISTEN", "ADVERTISE", "DHT", "MDNS"} {
		os.Unsetenv("CELL_" + name)
	}
	os.Exit(m.Run())
}

func hold(root string) {
	d, err := At(root)
	if err == nil {
		var key *Key
		if key, err = d.StoredKey("exchange"); err == nil {
			_, err = d.Register(Running{Name: "exchange", CID: "bafkone", Peer: key.Peer.String(), Socket: "unix:/s"})
			fmt.Println(key.Name)
		}
	}
	if err != nil {
		fmt.Println(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startHolder returns another process that holds "exchange" in the home directory at root, and what it got.
func startHolder(t *testing.T, root string) (process *os.Process, name string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HOME_TEST_HOLD="+root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process, strings.TrimSpace(line)
}

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := At(filepath.Join(t.TempDir(), "cell"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantError fails unless err is one line that holds all of the parts.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error is not one line: %q", err)
	}
}

func TestOpenTakesCellHomeThenHome(t *testing.T) {
	user := t.TempDir()
	t.Setenv("HOME", user)
	t.Setenv("USERPROFILE", user)
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(user, ".cell"); d.Path() != want {
		t.Errorf("opened %s, want %s", d.Path(), want)
	}
	moved := filepath.Join(t.TempDir(), "a", "b")
	t.Setenv("CELL_HOME", moved)
	if d, err = Open(); err != nil {
		t.Fatal(err)
	}
	if d.Path("config.toml") != filepath.Join(moved, "config.toml") {
		t.Errorf("opened %s, want %s", d.Path(), moved)
	}
}

func TestMissingHomeIsSaid(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the variable has another name")
	}
	t.Setenv("HOME", "")
	_, err := Open()
	wantError(t, err, "$HOME", "CELL_HOME")
}

func TestDirectoriesAreMadePrivate(t *testing.T) {
	d := open(t)
	keys, err := d.Sub("keys")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{d.Path(), keys} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if hasModes && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %#o, want 0700", path, info.Mode().Perm())
		}
	}
}

func TestUnsafeDirectoriesAreRefused(t *testing.T) {
	if !hasModes {
		t.Skip("no modes here")
	}
	tests := []struct {
		name string
		make func(path string) error
		want []string
	}{
		{"open to others", func(path string) error {
			return os.Chmod(path, 0o755)
		}, []string{"mode 0755", "chmod 700 "}},
		{"a file", func(path string) error {
			return replace(path, os.WriteFile(path+".x", nil, 0o600), func() error { return os.Rename(path+".x", path) })
		}, []string{"is a file, not a directory"}},
		{"a symbolic link", func(path string) error {
			return replace(path, nil, func() error { return os.Symlink(os.TempDir(), path) })
		}, []string{"symbolic link"}},
		{"another user's", func(path string) error {
			return os.Chown(path, 12345, -1)
		}, []string{"belongs to user 12345", "CELL_HOME"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.HasPrefix(tt.name, "another") && os.Geteuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			d := open(t)
			path, err := d.Sub("run")
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			_, err = d.Sub("run")
			wantError(t, err, append(tt.want, path)...)
			_, err = d.Running()
			wantError(t, err, path)
		})
	}
}

func replace(path string, err error, with func() error) error {
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return with()
}

func TestHomeMayBeALinkOfOnesOwn(t *testing.T) {
	d := open(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(d.Path(), link); err != nil {
		t.Skip(err)
	}
	linked, err := At(link)
	if err != nil {
		t.Fatal(err)
	}
	if linked.Path() != d.Path() {
		t.Errorf("opened %s, want the link's end %s", linked.Path(), d.Path())
	}
	if err := os.Chmod(d.Path(), 0o770); err != nil {
		t.Fatal(err)
	}
	if hasModes {
		_, err = At(link)
		wantError(t, err, "mode 0770")
	}
}
