package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

const deploy = "../../examples/deploy"

// joined returns a file with what its \ at line ends joins joined.
func joined(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\\\n", " ")
}

// checkInvocation holds the words behind `cellnode` to what the command takes.
func checkInvocation(t *testing.T, where string, words []string) {
	t.Helper()
	cmd, args, err := newRoot().Find(words)
	if err != nil || cmd.Name() == "cellnode" {
		t.Errorf("%s: there is no command %q: %v", where, words, err)
		return
	}
	if err := cmd.ParseFlags(args); err != nil && !errors.Is(err, pflag.ErrHelp) {
		t.Errorf("%s: %v", where, err)
		return
	}
	if cmd.Args != nil {
		if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestTheExampleUnitRuns(t *testing.T) {
	path := filepath.Join(deploy, "exchange.service")
	starts := 0
	for line := range strings.Lines(joined(t, path)) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			starts++
			words := strings.Fields(command)
			if filepath.Base(words[0]) != "cellnode" {
				t.Errorf("it starts %s", words[0])
			}
			checkInvocation(t, path, words[1:])
		}
	}
	if starts != 1 {
		t.Errorf("%d lines ExecStart", starts)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here to look at the rest of the unit")
		return
	}
	// The programs that it names are not on this machine: only what it says of the file itself counts.
	out, _ := exec.Command(analyze, "verify", path).CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "exchange.service:") && !strings.Contains(line, "is not executable") {
			t.Error(strings.TrimSpace(line))
		}
	}
}

func TestTheExampleImageRuns(t *testing.T) {
	path := filepath.Join(deploy, "Dockerfile")
	found := map[string]bool{}
	for line := range strings.Lines(joined(t, path)) {
		line = strings.TrimSpace(line)
		at := strings.Index(line, "CMD [")
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		var words []string
		if err := json.Unmarshal([]byte(line[at+len("CMD "):]), &words); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if words[0] == "sh" {
			words = strings.Fields(strings.TrimPrefix(strings.ReplaceAll(words[2], `"`, ""), "exec "))
		}
		found[words[1]] = true
		checkInvocation(t, path, words[1:])
	}
	if !found["run"] || !found["status"] {
		t.Errorf("it calls %v", found)
	}
}
