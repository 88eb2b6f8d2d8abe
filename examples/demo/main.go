// Command demo plays the whole story on this machine with real processes: a git repository becomes a cell, eight nodes
// meet, three of them serve the cell, and a consumer that knows nothing but its name calls it while instances are
// killed, leave and join. Then git goes, and every instance that a file names is dead, and the cell is found all the
// same. It prints what it saw and when, and exits 0 only if every claim held.
//
// It needs Go and git, and leaves nothing running or lying about.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	_ "github.com/cellnode/cellnode/overlay/embed" // the last consumer has no daemon
)

// limit bounds the story, and buildLimit the builds before it, which take minutes on a machine that has built nothing.
const (
	limit      = 3 * time.Minute
	buildLimit = 15 * time.Minute
)

func main() {
	verbose := flag.Bool("v", false, "print the logs of the nodes if a claim fails")
	nodes := flag.Int("nodes", 8, "how many nodes there are, those with an instance included")
	instances := flag.Int("instances", 3, "how many of them serve the cell: at least 3, and fewer than there are nodes")
	flag.Parse()
	if *instances < 3 || *instances >= *nodes {
		fmt.Fprintf(os.Stderr, "demo: %d instances on %d nodes: at least 3, and one node without\n", *instances, *nodes)
		os.Exit(2)
	}
	if err := play(*nodes, *instances, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	fmt.Println("\nevery claim held")
}

func play(nodes, instances int, verbose bool) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d, err := newDemo(nodes, instances)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && verbose {
			d.printLogs(os.Stderr)
		}
		err = errors.Join(err, d.close())
	}()
	if err := d.build(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, act := range []func(context.Context) error{
		d.makeCell, d.startNetwork, d.meetConsumer, d.kill, d.leave, d.join, d.endLoad, d.withoutGit, d.oneTransport,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// say prints a line of the story with the time since its beginning.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// claim prints what was measured beside what was promised, and fails if that did not hold.
func (d *demo) claim(what string, got, promised time.Duration) error {
	d.say("%-46s %6.2f s   (promised: %g s)", what, got.Seconds(), promised.Seconds())
	if got > promised {
		return fmt.Errorf("%s took %s, promised were %s", what, got, promised)
	}
	return nil
}
