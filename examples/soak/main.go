// Command soak watches a network that `cellnode testnet up` has started, over minutes or hours, and prints what its
// nodes cost: memory, processor, goroutines and descriptors, from each node's own metrics. With -uses it asks random
// nodes for their cell and connects through them all the while, so that what grows with use is seen to grow.
//
//	cellnode testnet up -n 64 --cell ../exchange@v1.3.0=64
//	go run ./examples/soak -for 1h -every 5m -uses 2
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/cellnode/cellnode/testnet"
)

func main() {
	dir := flag.String("dir", filepath.Join(os.TempDir(), "cellnode-testnet"), "where the network lives")
	length := flag.Duration("for", 10*time.Minute, "how long to watch")
	every := flag.Duration("every", time.Minute, "how often to print a line")
	uses := flag.Float64("uses", 0, "how often a second some node is asked for its cell and connects to it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := watch(ctx, *dir, *length, *every, *uses); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// watch prints a line for each stretch of time until length is over.
func watch(ctx context.Context, dir string, length, every time.Duration, uses float64) error {
	net, err := testnet.Open(dir)
	if err != nil {
		return err
	}
	nodes := net.Running()
	if len(nodes) == 0 {
		return fmt.Errorf("no node runs in %s", dir)
	}
	ctx, cancel := context.WithTimeout(ctx, length+every/2)
	defer cancel()
	use := begin(ctx, nodes, uses)
	defer use.end()
	before, err := scrapeAll(ctx, nodes)
	if err != nil {
		return err
	}
	fmt.Printf("%d nodes; each figure is the median and the highest of them\n", len(nodes))
	fmt.Printf("%8s  %15s  %15s  %15s  %15s  %15s  %s\n", "after", "resident MB", "% of a core", "heap MB", "goroutines", "descriptors", "uses")
	begun, tick := time.Now(), time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return use.err()
			}
			return ctx.Err()
		case <-tick.C:
		}
		now, err := scrapeAll(ctx, nodes)
		if err != nil {
			return err
		}
		fmt.Printf("%8s  %15s  %15s  %15s  %15s  %15s  %d\n", time.Since(begun).Round(time.Second),
			spread(now, func(i int) float64 { return now[i].resident / 1e6 }),
			spread(now, func(i int) float64 {
				return 100 * (now[i].processor - before[i].processor) / now[i].at.Sub(before[i].at).Seconds()
			}),
			spread(now, func(i int) float64 { return now[i].heap / 1e6 }),
			spread(now, func(i int) float64 { return now[i].goroutines }),
			spread(now, func(i int) float64 { return now[i].descriptors }), use.count())
		before = now
	}
}

// spread is the median and the highest of what f gives for each node.
func spread(nodes []sample, f func(i int) float64) string {
	values := make([]float64, len(nodes))
	for i := range nodes {
		values[i] = f(i)
	}
	slices.SortFunc(values, cmp.Compare)
	return fmt.Sprintf("%.2f  %.2f", values[len(values)/2], values[len(values)-1])
}
