//go:build unix

package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cellnode/cellnode/client"
)

const (
	// serviceNeeds, in the environment of this test's binary, makes a slow service of it: the names of the cells that it
	// cannot do without, separated by commas.
	serviceNeeds = "SLOW_SERVICE_NEEDS"
	// serviceTakes is how long it takes before it listens, and as long again before it looks for the others.
	serviceTakes = "SLOW_SERVICE_TAKES"
)

// serveSlowly is a service that starts as many do: it loads something, then it listens and says that it is not ready,
// loads more, waits until every cell that it needs has answered, and is ready.
func serveSlowly(need string) int {
	takes, err := time.ParseDuration(os.Getenv(serviceTakes))
	if err != nil {
		return complain(err)
	}
	load(takes)
	l, err := net.Listen("unix", os.Getenv("CELL_SOCKET"))
	if err != nil {
		return complain(err)
	}
	var ready atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})}
	go func() {
		load(takes)
		for _, cell := range strings.FieldsFunc(need, func(r rune) bool { return r == ',' }) {
			for ask(cell) != nil {
				load(50 * time.Millisecond)
			}
		}
		ready.Store(true)
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return complain(err)
	}
	return 0
}

// load stands for work that takes a while.
func load(d time.Duration) { time.Sleep(d) } //allow:sleep the service is slow, that is its purpose

// ask returns nil if some instance of a cell answers that it is ready.
func ask(cell string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	web := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return client.Dial(ctx, cell)
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cell+"/", nil)
	if err != nil {
		return err
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", cell, resp.Status)
	}
	return nil
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
