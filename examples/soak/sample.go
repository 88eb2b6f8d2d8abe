package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cellnode/cellnode/testnet"
)

// sample is what a node says of its own process at one time.
type sample struct {
	at                      time.Time
	resident, heap          float64 // bytes
	processor               float64 // seconds since its start
	goroutines, descriptors float64
}

func scrapeAll(ctx context.Context, nodes []testnet.Node) ([]sample, error) {
	samples := make([]sample, len(nodes))
	for i, n := range nodes {
		s, err := scrape(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", n.Index, err)
		}
		samples[i] = s
	}
	return samples, nil
}

// scrape reads a node's metrics from its socket.
func scrape(ctx context.Context, n testnet.Node) (s sample, err error) {
	var d net.Dialer
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return d.DialContext(ctx, "unix", n.API)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node/metrics", nil)
	if err != nil {
		return s, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return s, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return s, fmt.Errorf("metrics: %s", answer.Status)
	}
	s.at = time.Now()
	wanted := map[string]*float64{
		"process_resident_memory_bytes": &s.resident, "go_memstats_heap_alloc_bytes": &s.heap,
		"process_cpu_seconds_total": &s.processor, "go_goroutines": &s.goroutines, "process_open_fds": &s.descriptors,
	}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if into := wanted[name]; into != nil {
			if *into, err = strconv.ParseFloat(value, 64); err != nil {
				return s, fmt.Errorf("metrics: %s: %w", name, err)
			}
			delete(wanted, name)
		}
	}
	if err := lines.Err(); err != nil {
		return s, err
	}
	if len(wanted) > 0 {
		return s, fmt.Errorf("metrics: %d of the process's own are missing", len(wanted))
	}
	return s, nil
}
