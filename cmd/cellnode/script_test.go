package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

// TestMain lets the test binary be the command itself, and the service beside which it runs.
func TestMain(m *testing.M) {
	sandbox.Init()
	testscript.Main(manual{m}, map[string]func(){"cellnode": command, "service": service, "nosandbox": noSandbox, "landlockalone": landlockAlone})
}

// TestScripts plays testdata/script/*.txtar through the real command. Each script has an empty CELL_HOME of its own and
// meets nobody that it has not started.
//
// Besides testscript's own commands there are
//
//	exits CODE PROGRAM …      runs a program to its end, which must have this exit code
//	refused CODE PROGRAM …    the same, and standard error is one line, standard output empty, the disk unchanged
//	stops CODE PROGRAM …      the same, but only the working directory must be unchanged, and standard output may say something
//	start NAME PROGRAM …      starts a program; what it writes is in $WORK/NAME.out and $WORK/NAME.err
//	send SIGNAL NAME          sends it TERM, INT, STOP, CONT, KILL or HUP
//	ends NAME CODE            waits for its end, which must have this exit code; -1: a signal has killed it
//	waitfor REGEXP PROGRAM …  runs a program again and again until it ends well and its standard output matches
//	eventually D RE NOT PROG … the same within D, and without a match of NOT
//	capture VARIABLE REGEXP   takes the first group of REGEXP out of the last standard output
//	repository DIR TAG …      makes a git repository of a directory, with one commit and these tags on it
//	found N                   the last standard output is the JSON of find, with N instances
//	module DIR PATH           makes DIR a Go module that may import this one
//	same DIR DIR              two folders hold the same files, byte by byte
//	activate NAME PROGRAM …   start, with the machine's socket handed over as systemd does
//	request PATH              GETs from the machine's node; standard output is the status, then the body
//	echoes ADDRESS            whoever listens at unix:PATH or HOST:PORT sends back what it is sent
func TestScripts(t *testing.T) { play(t, "testdata/script") }

var long = flag.Bool("long", false, "play the scripts of testdata/long, which take minutes")

// TestLongScripts plays testdata/long/*.txtar: make test-long.
func TestLongScripts(t *testing.T) {
	if !*long {
		t.Skip("takes minutes: make test-long")
	}
	play(t, "testdata/long")
}

func play(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "refused": refused, "stops": stops, "waitfor": waitfor, "eventually": eventually, "capture": capture,
			"start": start, "activate": activate, "send": send, "request": request, "ends": ends,
			"repository": repository, "found": found, "echoes": echoes, "module": module, "modulegraph": moduleGraph, "same": same,
		},
	})
}

// condition adds userns: a program may be put into a user namespace with mounts of its own.
func condition(name string) (bool, error) {
	if name != "userns" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return exec.Command("unshare", "-Urm", "mount", "-t", "tmpfs", "none", os.TempDir()).Run() == nil, nil
}

func setup(env *testscript.Env) error {
	home, err := os.MkdirTemp("", "c") // short, for the sockets in it
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(home) })
	env.Defer(func() { endDaemon(home) })
	for _, v := range []string{
		"CELL_HOME=" + home, "CELL_DAEMON=off", "CELL_MDNS=false", "CELL_DHT=", "CELL_KEY=", "CELL_FILE=", "CELL_BOOTSTRAP=",
		"CELL_LISTEN=/ip4/127.0.0.1/udp/0/quic-v1,/ip4/127.0.0.1/tcp/0/tls",
		"QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true", errorsSocket + "=" + os.Getenv(errorsSocket),
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost",
	} {
		name, value, _ := strings.Cut(v, "=")
		env.Setenv(name, value)
	}
	if err := goEnvironment(env); err != nil {
		return err
	}
	programs := &programs{byName: map[string]*program{}}
	for _, v := range env.Vars {
		name, _, _ := strings.Cut(v, "=")
		programs.variables = append(programs.variables, name)
	}
	env.Values[programsKey{}] = programs
	env.Defer(programs.kill)
	return nil
}
