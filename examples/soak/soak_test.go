package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cellnode/cellnode/testnet"
)

// node serves HTTP on a socket as a node does.
func node(t *testing.T, h http.HandlerFunc) testnet.Node {
	t.Helper()
	dir, err := os.MkdirTemp("", "s") // short, for the socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "node.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	s.Start()
	t.Cleanup(s.Close)
	return testnet.Node{Index: 1, API: path, Cell: "example.org/acme/echo@v1"}
}

func TestWhatANodeCostsIsRead(t *testing.T) {
	const metrics = `# HELP go_goroutines Number of goroutines that currently exist.
go_goroutines 386
go_memstats_heap_alloc_bytes 1.1321e+07
process_cpu_seconds_total 1.25
process_open_fds 20
process_resident_memory_bytes 5.967e+07
`
	n := node(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, metrics) })
	s, err := scrape(t.Context(), n)
	if err != nil || s.resident != 59.67e6 || s.heap != 11.321e6 || s.processor != 1.25 || s.goroutines != 386 || s.descriptors != 20 {
		t.Errorf("%+v, %v", s, err)
	}
	n = node(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Replace(metrics, "process_open_fds", "other", 1))
	})
	if _, err := scrape(t.Context(), n); err == nil || !strings.Contains(err.Error(), "1 of the process's own are missing") {
		t.Errorf("without a figure: %v", err)
	}
}

func TestAConnectionThatIsRefusedIsSaid(t *testing.T) {
	var asked string
	n := node(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.URL.String()
		http.Error(w, "nobody", http.StatusBadGateway)
	})
	err := connect(t.Context(), n, n.Cell)
	if err == nil || err.Error() != "node 1: connect: 502 Bad Gateway" {
		t.Errorf("%v", err)
	}
	if asked != "CONNECT /v1/connect?cell=example.org%2Facme%2Fecho%40v1" {
		t.Errorf("asked %q", asked)
	}
}
