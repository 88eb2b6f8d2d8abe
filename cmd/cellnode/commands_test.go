package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM …")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if code != number(ts, args[0]) {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

func refused(ts *testscript.TestScript, neg bool, args []string) {
	unchanged(ts, neg, args, ts.Getenv("WORK"), ts.Getenv("CELL_HOME"))
	if ts.ReadFile("stdout") != "" {
		ts.Fatalf("something is on standard output")
	}
}

// stops is refused for the build step, which says on standard output how far it has come, and fills the cache.
func stops(ts *testscript.TestScript, neg bool, args []string) {
	unchanged(ts, neg, args, ts.MkAbs("."))
}

// unchanged runs a program that must end with one line and leave the folders as they were.
func unchanged(ts *testscript.TestScript, neg bool, args []string, roots ...string) {
	before := disk(ts, roots)
	exits(ts, neg, args)
	if text := ts.ReadFile("stderr"); strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "cellnode: ") {
		ts.Fatalf("standard error is not one line")
	}
	if after := disk(ts, roots); after != before {
		ts.Fatalf("the disk has changed: before\n%safter\n%s", before, after)
	}
}

// disk lists what lies below the folders: path, mode, and a sum of the content. It leaves out what programs that run
// write.
func disk(ts *testscript.TestScript, roots []string) string {
	var list strings.Builder
	for _, root := range roots {
		ts.Check(filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if ext := filepath.Ext(path); ext == ".out" || ext == ".err" {
				return nil
			}
			fmt.Fprint(&list, path, " ", info.Mode())
			if info.Mode().IsRegular() {
				data, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				fmt.Fprintf(&list, " %x", sha256.Sum256(data))
			}
			_, err = fmt.Fprintln(&list)
			return err
		}))
	}
	return list.String()
}

func waitfor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor REGEXP PROGRAM …")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	came := func() bool { return ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) }
	for end := time.Now().Add(patience); !came(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%q did not come", args[0])
		}
	}
}

// eventually is waitfor with its own patience and something that must not be in the output. It logs how long it took.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: eventually DURATION REGEXP NOT-REGEXP PROGRAM …")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	want, not := regexp.MustCompile("(?m)"+args[1]), regexp.MustCompile("(?m)"+args[2])
	begun := time.Now()
	came := func() bool {
		out := ""
		if ts.Exec(args[3], args[4:]...) == nil {
			out = ts.ReadFile("stdout")
		}
		return want.MatchString(out) && !not.MatchString(out)
	}
	for !came() {
		if time.Since(begun) > limit {
			ts.Fatalf("not within %s: %q without %q; there is %s", limit, want, not, ts.ReadFile("stdout"))
		}
		time.Sleep(200 * time.Millisecond)
	}
	ts.Logf("after %s", time.Since(begun).Round(100*time.Millisecond))
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture VARIABLE REGEXP")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) < 2 {
		ts.Fatalf("%q is not in the last standard output", args[1])
	}
	ts.Setenv(args[0], match[1])
}

func repository(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: repository DIR TAG …")
	}
	dir := ts.MkAbs(args[0])
	commands := [][]string{{"init", "--quiet"}, {"add", "."}, {"commit", "--quiet", "--message=first"}}
	for _, tag := range args[1:] {
		commands = append(commands, []string{"tag", tag})
	}
	for _, c := range commands {
		if err := ts.Exec("git", append([]string{"-C", dir}, c...)...); err != nil {
			ts.Fatalf("git %s: %v", c[0], err)
		}
	}
}
