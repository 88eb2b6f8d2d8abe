// Command datapath measures what a typed call costs on each path to a service, beside plain gRPC on the same transport:
// the same service, the same calls, in turns, in one run.
//
// A round visits every path with every load, there and back, and appends its figures to the results; a run that was
// interrupted is continued. `make bench-datapath` runs the rounds that are missing and writes the tables in docs.
// Linux only: processor time is read from the clocks of the processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	results string
	rounds  int
	slice   time.Duration
	only    string
	again   bool
	docs    string
	binary  string
	stage   int // the rounds that this process plays at most; 0: it has others play
}

func main() {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "serve-") {
		finish(serve(strings.TrimPrefix(os.Args[1], "serve-"), os.Stdin, os.Stdout))
		return
	}
	finish(start(os.Args[1:], os.Stdout, os.Stderr))
}

// start is the command with its flags.
func start(args []string, out, log io.Writer) error {
	var o options
	flag := flag.NewFlagSet("datapath", flag.ExitOnError)
	flag.StringVar(&o.results, "results", "datapath.jsonl", "`file` of results, one JSON line for each path, load and round")
	flag.IntVar(&o.rounds, "rounds", 30, "how many rounds there are to be in the results")
	flag.DurationVar(&o.slice, "slice", 100*time.Millisecond, "how long a load runs on a path at one visit; a round has two visits")
	flag.StringVar(&o.only, "only", "", "measure only these paths, separated by semicolons, and their anchors")
	flag.BoolVar(&o.again, "again", false, "begin a new run: what is in the results goes")
	flag.StringVar(&o.docs, "write", "", "write the tables into benchmarks.md in this `folder`")
	flag.StringVar(&o.binary, "cellnode", "bin/cellnode", "the command to measure")
	flag.IntVar(&o.stage, "stage", 0, "play at most so many rounds, here; by default each few rounds have processes and connections of their own")
	if err := flag.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return command(ctx, o, out, log)
}

func finish(err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "datapath:", err)
		os.Exit(1)
	}
}

// stageRounds is how many rounds one set of processes and connections plays. How a connection's threads and buffers happen to
// lie is drawn once for its life, so a run takes several draws.
const stageRounds = 3

// command measures what is missing and prints the tables.
func command(ctx context.Context, o options, out, log io.Writer) error {
	if o.again {
		if err := os.Remove(o.results); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	samples, err := readSamples(o.results)
	for err == nil && nextRound(samples) <= o.rounds {
		if o.stage > 0 {
			return measure(ctx, o, nextRound(samples), log)
		}
		if err = playStage(ctx, o, log); err == nil {
			samples, err = readSamples(o.results)
		}
	}
	if err != nil || o.stage > 0 {
		return err
	}
	text := tables(samples)
	fmt.Fprint(out, text)
	if o.docs == "" {
		return nil
	}
	return writeTables(o.docs, text)
}

// playStage has a process of its own play the next few rounds.
func playStage(ctx context.Context, o options, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(
		ctx, self, "-stage", strconv.Itoa(stageRounds), "-results", o.results, "-rounds", strconv.Itoa(o.rounds),
		"-slice", o.slice.String(), "-only", o.only, "-cellnode", o.binary,
	)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = log
	return cmd.Run()
}

// measure plays the next rounds with servers of its own.
func measure(ctx context.Context, o options, first int, log io.Writer) error {
	s, err := newStage(ctx, o.binary)
	if err != nil {
		return err
	}
	defer s.close()
	routes, err := s.connect(ctx, chosen(o.only))
	if err != nil {
		return err
	}
	for round := first; round < first+o.stage && round <= o.rounds; round++ {
		fmt.Fprintf(log, "%s round %d of %d\n", time.Now().Format(time.TimeOnly), round, o.rounds)
		samples, err := s.round(ctx, routes, round, o.slice)
		if err != nil {
			return err
		}
		if err := appendSamples(o.results, samples); err != nil {
			return err
		}
	}
	return nil
}
