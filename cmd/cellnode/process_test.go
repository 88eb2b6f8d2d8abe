package main

import (
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
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
	programs := ts.Value(programsKey{}).(*programs)
	if programs.byName[args[0]] != nil {
		ts.Fatalf("%s is the name of another program", args[0])
	}
	path, err := exec.LookPath(args[1]) // testscript.Main has put the command on this process's PATH
	ts.Check(err)
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
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
