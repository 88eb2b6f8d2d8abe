package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cellnode/cellnode/internal/daemon"
)

// patience is how long a script waits for what must come.
const patience = time.Minute

// programs are what a script has started.
type programs struct {
	byName    map[string]*program
	variables []string // the names of the script's environment
}

type programsKey struct{}

type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been reaped
}

// kill ends what is left of them.
func (p *programs) kill() {
	for _, program := range p.byName {
		_ = program.cmd.Process.Kill() // it may have ended
		<-program.done
	}
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM …")
	}
	launch(ts, args, nil)
}

// activate starts a program as systemd's socket activation does: with the listening socket as descriptor 3, and told its
// own process number.
func activate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: activate NAME PROGRAM …")
	}
	ts.Check(os.MkdirAll(ts.Getenv("CELL_HOME")+"/run", 0o700))
	l, err := net.Listen("unix", ts.Getenv("CELL_HOME")+"/run/"+daemon.Socket)
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	file, err := l.(*net.UnixListener).File()
	ts.Check(err)
	defer file.Close()
	launch(ts, append([]string{args[0], "sh", "-c", `LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@"`, args[1]}, args[2:]...), []*os.File{file})
}

func launch(ts *testscript.TestScript, args []string, files []*os.File) {
	programs := ts.Value(programsKey{}).(*programs)
	if programs.byName[args[0]] != nil {
		ts.Fatalf("%s is the name of another program", args[0])
	}
	path, err := exec.LookPath(args[1]) // testscript.Main has put the command on this process's PATH
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.ExtraFiles = files
	for _, name := range programs.variables {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := os.Create(ts.Getenv("WORK") + "/" + args[0] + ".out")
	ts.Check(err)
	defer out.Close()
	errs, err := os.Create(ts.Getenv("WORK") + "/" + args[0] + ".err")
	ts.Check(err)
	defer errs.Close()
	cmd.Stdout, cmd.Stderr = out, errs
	ts.Check(cmd.Start())
	p := &program{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ends looks at how
		close(p.done)
	}()
	programs.byName[args[0]] = p
}

func named(ts *testscript.TestScript, name string) *program {
	p := ts.Value(programsKey{}).(*programs).byName[name]
	if p == nil {
		ts.Fatalf("no program %s has been started", name)
	}
	return p
}

func send(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "STOP": syscall.SIGSTOP, "CONT": syscall.SIGCONT, "KILL": syscall.SIGKILL,
		"HUP": syscall.SIGHUP,
	}
	if neg || len(args) != 2 || signals[args[0]] == nil {
		ts.Fatalf("usage: send TERM|INT|STOP|CONT|KILL|HUP NAME")
	}
	ts.Check(named(ts, args[1]).cmd.Process.Signal(signals[args[0]]))
}

func ends(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ends NAME CODE")
	}
	p := named(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(patience):
		ts.Fatalf("%s does not end; it wrote\n%s", args[0], ts.ReadFile(ts.Getenv("WORK")+"/"+args[0]+".err"))
	}
	if code := p.cmd.ProcessState.ExitCode(); code != number(ts, args[1]) {
		ts.Fatalf("%s ended with %v, want %s; it wrote\n%s", args[0], p.cmd.ProcessState, args[1], ts.ReadFile(ts.Getenv("WORK")+"/"+args[0]+".err"))
	}
}

// endDaemon ends what a script has left running as the machine's node.
func endDaemon(home string) {
	c := daemon.NewClient(filepath.Join(home, "run", daemon.Socket))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s, err := c.Status(ctx); err == nil {
		_ = syscall.Kill(s.PID, syscall.SIGKILL)
	}
}

// request asks the machine's node over HTTP, as any program may.
func request(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: request PATH")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", ts.Getenv("CELL_HOME")+"/run/"+daemon.Socket)
	}}}
	resp, err := client.Get("http://node" + args[0])
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintln(ts.Stdout(), resp.StatusCode)
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}
