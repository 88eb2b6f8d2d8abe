//go:build !windows

package sidecar

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// held is what play keeps open: nothing else refers to it, and the collector would close it.
var held net.Conn

// play is a service. Its life can be watched: it connects to the socket SIDECAR_TEST_LIFE and holds that to its end.
func play(role string) {
	if role == "proxy" {
		roleProxy()
	}
	asked := make(chan os.Signal, 1)
	if role == "polite" {
		signal.Notify(asked, syscall.SIGTERM)
	}
	if life := os.Getenv("SIDECAR_TEST_LIFE"); life != "" {
		conn, err := net.Dial("unix", life)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(9)
		}
		fmt.Fprintln(conn, role)
		held = conn
	}
	if role == "stubborn" || role == "child" {
		signal.Ignore(syscall.SIGTERM)
	}
	switch role {
	case "dies":
		fmt.Fprintln(os.Stderr, "first line\nport 7 is taken")
		os.Exit(3)
	case "deaf", "child":
		select {}
	case "polite":
		<-asked
		if conn, err := net.Dial("unix", os.Getenv("SIDECAR_TEST_LIFE")); err == nil {
			fmt.Fprintln(conn, "polite was asked")
		}
		os.Exit(0)
	case "family":
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "SIDECAR_TEST_ROLE=child")
		if err := child.Start(); err != nil {
			os.Exit(8)
		}
	case "parent":
		u := Upstream{"unix", os.Getenv("CELL_SOCKET")}
		_, err := StartCommand(context.Background(), CommandConfig{
			Args: []string{os.Args[0]}, Env: []string{"SIDECAR_TEST_ROLE=family"}, Socket: u,
		})
		fmt.Println("started", err)
		select {}
	}
	serve()
}

func serve() {
	network, address := "unix", os.Getenv("CELL_SOCKET")
	if address == "" {
		network, address = "tcp", "127.0.0.1:"+os.Getenv("CELL_PORT")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(7)
	}
	fmt.Println("name", os.Getenv("CELL_NAME"), "key", os.Getenv("CELL_KEY"))
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}

// lives listens for services that report their life. Its channel gets a line "ROLE" from each, and "ROLE ended".
func lives(t *testing.T) (path string, reports <-chan string) {
	t.Helper()
	path = socketPath(t)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	ch := make(chan string, 16)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				role, _ := bufio.NewReader(conn).ReadString('\n')
				role = strings.TrimSpace(role)
				ch <- role
				_, _ = io.Copy(io.Discard, conn)
				ch <- role + " ended"
			}()
		}
	}()
	return path, ch
}

func await(t *testing.T, reports <-chan string, want ...string) {
	t.Helper()
	missing := map[string]bool{}
	for _, w := range want {
		missing[w] = true
	}
	for len(missing) > 0 {
		select {
		case got := <-reports:
			if !missing[got] {
				t.Fatalf("got %q while waiting for %v", got, missing)
			}
			delete(missing, got)
		case <-time.After(20 * time.Second):
			t.Fatalf("never came: %v", missing)
		}
	}
}

func configOf(t *testing.T, role, life string) CommandConfig {
	t.Helper()
	return CommandConfig{
		Args: []string{os.Args[0]}, Name: "exchange", Socket: Upstream{"unix", socketPath(t)},
		Env: []string{"SIDECAR_TEST_ROLE=" + role, "SIDECAR_TEST_LIFE=" + life},
	}
}

func TestACommandIsReadyWhenItsSocketAccepts(t *testing.T) {
	t.Setenv("CELL_KEY", "secret")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := ln.Addr().String()
	ln.Close()
	for name, socket := range map[string]Upstream{"unix": {"unix", socketPath(t)}, "tcp": {"tcp", free}} {
		t.Run(name, func(t *testing.T) {
			config := configOf(t, "serves", "")
			config.Socket = socket
			var out bytes.Buffer
			config.Stdout, config.Stderr = &out, &out
			c, err := StartCommand(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			conn, err := socket.DialOnce(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if err := c.Stop(t.Context()); err != nil || c.Wait() != nil {
				t.Errorf("Stop: %v; Wait: %v", err, c.Wait())
			}
			if got := out.String(); got != "name exchange key \n" {
				t.Errorf("the service said %q", got)
			}
			if err := errors.Join(c.Stop(t.Context()), c.Close()); err != nil {
				t.Errorf("a second Stop: %v", err)
			}
		})
	}
}

func TestACommandThatDiesFirstIsAnErrorWithItsLastWords(t *testing.T) {
	_, err := StartCommand(t.Context(), configOf(t, "dies", ""))
	var exit *ExitError
	if !errors.As(err, &exit) || exit.State.ExitCode() != 3 {
		t.Fatalf("error %v, want an ExitError with status 3", err)
	}
	if !strings.Contains(err.Error(), "port 7 is taken") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q lacks the last words, or is not one line", err)
	}
}

func TestACommandThatNeverListensIsKilled(t *testing.T) {
	for limit := 300 * time.Millisecond; ; limit *= 2 {
		life, reports := lives(t)
		config := configOf(t, "deaf", life)
		config.ReadyTimeout = limit
		_, err := StartCommand(t.Context(), config)
		if !errors.Is(err, ErrNotReady) || !strings.Contains(err.Error(), "CELL_SOCKET") {
			t.Fatalf("error %v, want ErrNotReady", err)
		}
		if len(reports) > 0 { // else the machine is so busy that it was killed before its first word
			await(t, reports, "deaf", "deaf ended")
			return
		}
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	life, reports := lives(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		await(t, reports, "deaf")
		cancel()
	}()
	if _, err := StartCommand(ctx, configOf(t, "deaf", life)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	await(t, reports, "deaf ended")
}

func TestBadCommandsAreRefused(t *testing.T) {
	taken := socketPath(t)
	ln, err := net.Listen("unix", taken)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	free := Upstream{"unix", socketPath(t)}
	tests := []struct {
		config CommandConfig
		want   string
	}{
		{CommandConfig{Socket: free}, "no command"},
		{CommandConfig{Args: []string{"x"}}, "needs a socket"},
		{CommandConfig{Args: []string{"/nowhere/x"}, Socket: free}, "no such file"},
		{CommandConfig{Args: []string{"x"}, Socket: Upstream{"unix", taken}}, "listens there already"},
		{CommandConfig{Args: []string{"x"}, Socket: free, ReadyTimeout: -1}, "negative"},
	}
	for _, tt := range tests {
		if _, err := StartCommand(t.Context(), tt.config); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want one with %q", err, tt.want)
		}
	}
}

func TestStopKillsTheStubbornAndSaysSo(t *testing.T) {
	life, reports := lives(t)
	c, err := StartCommand(t.Context(), configOf(t, "stubborn", life))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.stopWithin(50 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("Stop: %v", err)
	}
	await(t, reports, "stubborn", "stubborn ended")
}

// A service that is asked to end before it was ready may be in the middle of something.
func TestAServiceThatStartsIsAskedToEnd(t *testing.T) {
	life, reports := lives(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		await(t, reports, "polite")
		cancel()
	}()
	if _, err := StartCommand(ctx, configOf(t, "polite", life)); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	await(t, reports, "polite was asked", "polite ended", "polite was asked ended")
}

// The child ignores SIGTERM, so it goes only if the group is killed after its first process has ended.
func TestStopLeavesNoChild(t *testing.T) {
	life, reports := lives(t)
	c, err := StartCommand(t.Context(), configOf(t, "family", life))
	if err != nil {
		t.Fatal(err)
	}
	await(t, reports, "family", "child")
	if err := c.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	await(t, reports, "family ended", "child ended")
}

func TestACrashIsSeenAndLeavesNoChild(t *testing.T) {
	life, reports := lives(t)
	c, err := StartCommand(t.Context(), configOf(t, "family", life))
	if err != nil {
		t.Fatal(err)
	}
	await(t, reports, "family", "child")
	if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	var exit *ExitError
	if err := c.Wait(); !errors.As(err, &exit) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("Wait: %v, want an ExitError", err)
	}
	await(t, reports, "family ended", "child ended")
}

// What the kernel promises ends at the first process: its child stays, as Command's comment says, and is killed here.
func TestAServiceDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a process of its parent's death")
	}
	life, reports := lives(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "SIDECAR_TEST_ROLE=parent", "SIDECAR_TEST_LIFE="+life, "CELL_SOCKET="+socketPath(t))
	stdout, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "started <nil>\n" {
		t.Errorf("the parent said %q, %v", line, err)
	}
	await(t, reports, "parent", "family", "child")
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	await(t, reports, "parent ended", "family ended")
	killChildren(t, life)
	await(t, reports, "child ended")
}

// killChildren ends the processes that report to life.
func killChildren(t *testing.T, life string) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range environs {
		env, _ := os.ReadFile(path)
		if !bytes.Contains(env, []byte("SIDECAR_TEST_LIFE="+life)) {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(path, "/proc/%d/environ", &pid); err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestTheTailIsTheLastWholeLines(t *testing.T) {
	var kept tail
	for i := range 1000 {
		fmt.Fprintf(&kept, "line %d\n", i)
	}
	got := kept.String()
	if len(got) > maxTail || !strings.HasPrefix(got, "line ") || !strings.HasSuffix(got, "line 999\n") {
		t.Errorf("kept %d bytes: %.20q…", len(got), got)
	}
	fmt.Fprint(&kept, strings.Repeat("x", 2*maxTail))
	if got := kept.String(); len(got) != maxTail {
		t.Errorf("kept %d bytes of one endless line", len(got))
	}
	if words := lastWords(strings.Repeat("a\n", 50)); strings.Count(words, "a") > maxWords+2 {
		t.Errorf("shows %s", words)
	}
}
