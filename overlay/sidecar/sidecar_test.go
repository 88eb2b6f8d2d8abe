//go:build !windows

package sidecar

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/manifest"
)

func TestASidecarJoinsItsServiceAndItsCell(t *testing.T) {
	dir, socket := newHome(t), socketPath(t)
	newEcho(t, socket)
	s := startBeside(t, dir, socket)
	c, err := open(t, s)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, c)

	list, err := dir.Running()
	if err != nil || len(list) != 1 {
		t.Fatalf("running: %+v, %v", list, err)
	}
	r := list[0]
	if r.Name != "echo" || r.Cell != "example.org/acme/echo@v1" || r.Peer != s.Node().ID().String() || r.Commit != someCommit ||
		r.Socket != "unix:"+socket || r.PID != os.Getpid() {
		t.Errorf("it is registered as %+v", r)
	}
	api := daemon.NewClient(r.API)
	defer api.Close()
	status, err := api.Status(t.Context())
	if err != nil || status.Peer != r.Peer || len(status.Instances) != 1 || status.Instances[0].State != "serving" || !status.Instances[0].Ready {
		t.Errorf("status %+v, %v", status, err)
	}
	reply, err := api.Find(t.Context(), daemon.Query{Repository: "https://example.org/acme/echo", Tag: "v1"})
	if err != nil || len(reply.Instances) != 1 || reply.Instances[0].Peer != r.Peer {
		t.Errorf("find %+v, %v", reply, err)
	}
	select {
	case <-s.Done():
		t.Error("it has no service to end")
	default:
	}
}

func TestAServiceThatHangsIsUnhealthyUntilItAnswersAgain(t *testing.T) {
	socket := socketPath(t)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	service := &hanging{}
	server := &http.Server{Handler: service}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	in := newInstance(t)
	in.Health = manifest.Health{Kind: "http", Path: "/", Interval: 20 * time.Millisecond, Timeout: 200 * time.Millisecond, Failures: 2}
	service.hang()
	s, err := Start(t.Context(), Config{Instance: in, Upstream: "unix:" + socket, Home: newHome(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if state := stateOf(s); state != "unhealthy" {
		t.Errorf("it hangs from the start, and is %s", state)
	}
	service.recover()
	until(t, "it is well", func() bool { return stateOf(s) == "serving" })
	service.hang()
	until(t, "it hangs", func() bool { return stateOf(s) == "unhealthy" })
	service.recover()
	until(t, "it is well again", func() bool { return stateOf(s) == "serving" })
}

func TestAClientIsHeldWhileTheServiceRestarts(t *testing.T) {
	dir, socket := newHome(t), socketPath(t)
	first := newEcho(t, socket)
	s := startBeside(t, dir, socket)
	first.close()
	type opened struct {
		net.Conn
		error
	}
	came := make(chan opened, 1)
	go func() {
		c, err := open(t, s)
		came <- opened{c, err}
	}()
	until(t, "the call is held, and nobody listens behind", func() bool {
		over, cancel := context.WithCancel(t.Context())
		cancel()
		return s.instance.Drained(over) != nil
	})
	newEcho(t, socket)
	o := <-came
	if o.error != nil {
		t.Fatal(o.error)
	}
	ask(t, o.Conn)
}

func TestCallsOfAServiceThatStaysAwayAreRefusedAfterAWhile(t *testing.T) {
	dir, socket := newHome(t), socketPath(t)
	first := newEcho(t, socket)
	s := startBeside(t, dir, socket)
	first.close()
	start := time.Now()
	_, err := open(t, s)
	var refused *link.Refused
	if !errors.As(err, &refused) || refused.Code != link.CodeUpstream || strings.Contains(refused.Detail, socket) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took < Hold-lastRetry || took > 2*Hold {
		t.Errorf("it took %v, want %v", took, Hold)
	}
}

func TestAServiceThatEndsByItselfIsTold(t *testing.T) {
	cfg := Config{Instance: newInstance(t), Home: newHome(t)}
	playing(&cfg, "serves")
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Err(); err != nil {
		t.Errorf("it runs, and its end is told as %v", err)
	}
	if err := syscall.Kill(s.command.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	var ended *ExitError
	if err := s.Err(); !errors.As(err, &ended) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error %v", err)
	}
}

// seeds is a repository's host; it answers when it is let.
type seeds struct {
	asked chan string
	err   error
}

func (s seeds) Seeds(ctx context.Context, url, tag string) (*manifest.SeedList, error) {
	select {
	case s.asked <- url + "@" + tag:
	case <-ctx.Done():
	}
	if s.err != nil {
		return nil, s.err
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestAGitHostThatHangsOrIsGoneKeepsNobodyWaiting(t *testing.T) {
	for name, fail := range map[string]error{"hangs": nil, "is gone": errors.New("connection refused")} {
		t.Run(name, func(t *testing.T) {
			socket := socketPath(t)
			newEcho(t, socket)
			host := seeds{make(chan string, 1), fail}
			s, err := Start(t.Context(), Config{Instance: newInstance(t), Upstream: "unix:" + socket, Home: newHome(t), Seeds: host})
			if err != nil {
				t.Fatal(err)
			}
			if asked := <-host.asked; asked != "https://example.org/acme/echo@v1" {
				t.Errorf("asked for %s", asked)
			}
			if state := stateOf(s); state != "serving" {
				t.Errorf("it is %s", state)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// lateSeeds is a host that is away when it is asked first, and names nobody when it is asked next.
type lateSeeds struct {
	asked atomic.Int32
	list  []manifest.Seed
}

func (l *lateSeeds) Seeds(context.Context, string, string) (*manifest.SeedList, error) {
	switch l.asked.Add(1) {
	case 1:
		return nil, errors.New("connection refused")
	case 2:
		return &manifest.SeedList{}, nil
	}
	return &manifest.SeedList{Instances: l.list}, nil
}

func TestTheSeedListIsReadAgain(t *testing.T) {
	socket := socketPath(t)
	newEcho(t, socket)
	first := startBeside(t, newHome(t), socket)
	host := &lateSeeds{list: first.instance.Seeds()}
	s, err := Start(t.Context(), Config{Instance: newInstance(t), Upstream: "unix:" + socket, Home: newHome(t), Seeds: host})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	met, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = s.instance.WatchSeeds(met, func() {
		if len(s.instance.Seeds()) > 1 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(s.instance.Seeds()) != 2 {
		t.Errorf("it has not met the one whom the list names now: %v", err)
	}
}
