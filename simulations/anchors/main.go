// Command anchors measures how quickly and at what cost members of a cell learn who is alive, beside hashicorp/memberlist:
// the same machine, the same kills, the same way of counting.
//
// Each row – a contender, a number of members, a loss – runs in a process of its own and appends one JSON line to the
// results; a row that is there is left out. `make bench-liveness` runs what is missing, and writes the table and the
// plot in docs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// rowTimeout bounds one row.
const rowTimeout = 10 * time.Minute

type options struct {
	results string // file of JSON lines
	only    string // beginnings of rows, separated by commas
	again   bool
	child   string // the row that this process is to run
	docs    string // folder of benchmarks.md and liveness.svg; empty writes nothing
	list    bool
}

func main() {
	var o options
	flag.StringVar(&o.results, "results", "results/liveness.jsonl", "`file` of results, one JSON line a row")
	flag.StringVar(&o.only, "only", "", "run only rows that begin with one of these, such as cellnode/64,memberlist-lan/64; - runs none")
	flag.BoolVar(&o.again, "again", false, "run rows that are there already once more; the newest counts")
	flag.StringVar(&o.child, "row", "", "run this one row in this process and print its result")
	flag.StringVar(&o.docs, "write", "", "write the table and the plot into this `folder`")
	flag.BoolVar(&o.list, "list", false, "list the rows that would run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, o options, out, log io.Writer) error {
	if o.child != "" {
		return child(ctx, o.child, out)
	}
	rows, err := missing(o)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if o.list {
			fmt.Fprintln(out, row)
			continue
		}
		fmt.Fprintln(log, time.Now().Format(time.TimeOnly), row)
		if err := runRow(ctx, row, o.results, log); err != nil {
			return fmt.Errorf("anchors: row %s: %w", row, err)
		}
	}
	if o.docs == "" || o.list {
		return nil
	}
	return report(o.results, o.docs)
}

// missing lists the rows that are asked for and not there.
func missing(o options) ([]Row, error) {
	results, err := readResults(o.results)
	if err != nil {
		return nil, err
	}
	there := make(map[Row]bool)
	for _, r := range results {
		if r.Machine == machine() && r.Go == runtime.Version() {
			there[r.Row] = true
		}
	}
	var rows []Row
	for _, row := range allRows() {
		if asked(row, o.only) && (o.again || !there[row]) {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func asked(row Row, only string) bool {
	if only == "" {
		return true
	}
	for prefix := range strings.SplitSeq(only, ",") {
		if strings.HasPrefix(row.String()+"/", prefix+"/") {
			return true
		}
	}
	return false
}

// runRow runs a row in a process of its own and keeps its result.
func runRow(ctx context.Context, row Row, file string, log io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, rowTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, "-row", row.String())
	cmd.Stderr = log
	line, err := cmd.Output()
	if err != nil {
		return errors.Join(err, ctx.Err())
	}
	return appendResult(file, line)
}

// child runs one row here.
func child(ctx context.Context, name string, out io.Writer) error {
	row, err := parseRow(name)
	if err != nil {
		return err
	}
	begun, busy := time.Now(), load()
	result, err := measure(ctx, row, courseOf(row))
	if err != nil {
		return err
	}
	result.Date, result.Machine, result.Go, result.Load = begun.UTC().Truncate(time.Second), machine(), runtime.Version(), busy
	return json.NewEncoder(out).Encode(result)
}
