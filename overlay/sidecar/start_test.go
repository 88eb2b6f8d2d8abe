//go:build !windows

package sidecar

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/home"
)

func TestAFailedStartLeavesNothing(t *testing.T) {
	const never = time.Minute
	for _, fails := range []struct {
		name   string
		change func(*testing.T, *Config)
		limit  time.Duration
		want   string
	}{
		{"no name", func(_ *testing.T, c *Config) { c.Instance.Name = "" }, never, "name"},
		{"a bad upstream", func(_ *testing.T, c *Config) { c.Upstream = "carrier-pigeon" }, never, "write unix:"},
		{"a service that dies", func(_ *testing.T, c *Config) { playing(c, "dies") }, never, "port 7 is taken"},
		{"a service that is deaf", func(_ *testing.T, c *Config) { playing(c, "deaf") }, time.Second, "context deadline exceeded"},
		{"an address of another machine", func(t *testing.T, c *Config) {
			write(t, c.Home, "config.toml", "listen = [\"/ip4/192.0.2.1/udp/0/quic-v1\"]\nmdns = false\ndht = false\n")
		}, never, "192.0.2.1:0"},
		{"settings that are damaged while a service runs", func(t *testing.T, c *Config) {
			playing(c, "serves")
			write(t, c.Home, "config.toml", "listen")
		}, never, "config.toml:1"},
		{"an unknown health check", func(_ *testing.T, c *Config) {
			playing(c, "serves")
			c.Instance.Health.Kind = "vibes"
		}, never, "vibes"},
		{"a file where the API belongs", blockAPI, never, "stands where a socket belongs"},
	} {
		t.Run(fails.name, func(t *testing.T) {
			dir, socket := newHome(t), socketPath(t)
			newEcho(t, socket)
			cfg := Config{Instance: newInstance(t), Upstream: "unix:" + socket, Home: dir}
			fails.change(t, &cfg)
			before := files(t, dir.Path("run"))
			ctx, cancel := context.WithTimeout(t.Context(), fails.limit)
			defer cancel()
			s, err := Start(ctx, cfg)
			if err == nil || s != nil || !strings.Contains(err.Error(), fails.want) {
				t.Fatalf("error %v, want one with %q", err, fails.want)
			}
			if left := files(t, dir.Path("run")); !slices.Equal(left, before) {
				t.Errorf("left in run: %v, before %v", left, before)
			}
			key, err := dir.StoredKey("echo")
			if err != nil || key.Name != "echo" {
				t.Fatalf("the identity is not free: %+v, %v", key, err)
			}
			key.Close()
		})
	}
}

// playing makes the test binary the service that is started, in a role of play.
func playing(c *Config, role string) {
	c.Upstream, c.Command = "", []string{os.Args[0]}
	c.Instance.Env = map[string]string{"SIDECAR_TEST_ROLE": role}
}

func write(t *testing.T, dir *home.Dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(dir.Path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func blockAPI(t *testing.T, c *Config) {
	key, err := c.Home.StoredKey(c.Instance.Name)
	if err != nil {
		t.Fatal(err)
	}
	key.Close()
	if _, err := c.Home.Sub("run"); err != nil {
		t.Fatal(err)
	}
	id := key.Peer.String()
	write(t, c.Home, "run/node-"+id[len(id)-8:]+".sock", "")
}

func TestIdentifyTakesWhatItIsTold(t *testing.T) {
	dir := t.TempDir()
	in, err := Identify(t.Context(), dir, "https://example.org/acme/Echo.git@v1", strings.ToUpper(someCommit))
	if err != nil {
		t.Fatal(err)
	}
	// Echo is no name that a cell can have.
	if in.Name != "cell" || in.Cell.String() != "example.org/acme/Echo@v1" || in.Commit != someCommit || in.Trust != nil || in.Dir != "" {
		t.Errorf("instance %+v", in)
	}
	file := "[package]\nname = \"quotes\"\n[health]\nkind = \"tcp\"\n[run]\nenv = {B = \"2\", A = \"1\"}\n"
	if err := os.WriteFile(dir+"/Cell.toml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err = Identify(t.Context(), dir, "example.org/acme/echo@v1", someCommit)
	if err != nil {
		t.Fatal(err)
	}
	if in.Name != "quotes" || in.Cell.String() != "example.org/acme/echo@v1" || in.Health.Kind != "tcp" || in.Dir != dir ||
		!slices.Equal(in.environment(), []string{"A=1", "B=2"}) {
		t.Errorf("instance %+v", in)
	}
}
