//go:build unix

package spawn

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/manifest"
)

// web is a service that speaks HTTP, checked often, and a client of it.
func web(t *testing.T, kind string) (*Capsid, *http.Client) {
	t.Helper()
	cfg := service(t, "web")
	cfg.File.Health = manifest.Health{Kind: kind, Interval: 10 * time.Millisecond, Timeout: 250 * time.Millisecond}
	cfg.HangLimit = time.Second
	c := begin(t, cfg)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		network, address, _ := strings.Cut(c.Info().Socket, ":")
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	}}
	return c, &http.Client{Transport: transport, Timeout: patience}
}

func post(t *testing.T, hc *http.Client, path string) {
	t.Helper()
	resp, err := hc.Post("http://service"+path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestAServiceThatHangsIsStartedAgain(t *testing.T) {
	for how, hang := range map[string]struct {
		kind string
		do   func(t *testing.T, c *Capsid, hc *http.Client)
	}{
		"no request is answered": {"http", func(t *testing.T, _ *Capsid, hc *http.Client) { post(t, hc, "/hang") }},
		"HTTP/2 that stands still": {"", func(t *testing.T, c *Capsid, hc *http.Client) {
			eventually(t, "it is known to speak HTTP/2", func() bool { return number(t, hc, "/asked") > 0 })
			if err := syscall.Kill(ownProcess(t, c), syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(how, func(t *testing.T) {
			c, hc := web(t, hang.kind)
			hang.do(t, c, hc)
			eventually(t, "it is ready again", func() bool {
				s := c.Info().Spawned
				return s.Restarts == 1 && s.State == StateReady
			})
			if requests(t, hc) == 0 {
				t.Error("it does not answer")
			}
		})
	}
}

// A service that says that it is not well may wait for another one: a restart would not help it.
func TestAServiceThatIsIllIsLeftAlone(t *testing.T) {
	c, hc := web(t, "http")
	post(t, hc, "/ill")
	began, from := time.Now(), requests(t, hc)
	eventually(t, "it was checked for longer than a hang would be let go", func() bool {
		return time.Since(began) > 3*c.cfg.HangLimit/2 && requests(t, hc) > from+20
	})
	if s := c.Info().Spawned; s.Restarts != 0 || s.State != StateReady {
		t.Errorf("it is %s after %d restarts", s.State, s.Restarts)
	}
}

// ownProcess is that of the service: the child of the first one in its box.
func ownProcess(t *testing.T, c *Capsid) (pid int) {
	t.Helper()
	first := c.Info().Spawned.PID
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/task/%[1]d/children", first)); err != nil {
		t.Skip(err) // a kernel without it
	}
	eventually(t, "the first process of the box has a child", func() bool {
		// A child is listed with the thread that forked it, which need not be the first.
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first))
		if err != nil {
			t.Fatal(err)
		}
		for _, list := range lists {
			children, err := os.ReadFile(list)
			if err != nil {
				continue // the thread has ended
			}
			if _, err := fmt.Sscan(string(children), &pid); err == nil {
				return true
			}
		}
		return false
	})
	return pid
}

// requests is how many the service has had.
func requests(t *testing.T, hc *http.Client) int { return number(t, hc, "/") }

func number(t *testing.T, hc *http.Client, path string) int {
	t.Helper()
	resp, err := hc.Get("http://service" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(body))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
