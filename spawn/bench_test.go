//go:build unix

package spawn

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkStart is a service from nothing to its first reply, with its binary in the cache, within walls and without.
func BenchmarkStart(b *testing.B) {
	for _, open := range []bool{false, true} {
		b.Run(map[bool]string{false: "sandbox", true: "open"}[open], func(b *testing.B) {
			cfg := service(b, "serves")
			cfg.Open = open
			for b.Loop() {
				c, err := StartCapsid(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				if answer := greet(b, c); answer != "hello" {
					b.Errorf("it says %q", answer)
				}
				b.StopTimer()
				if err := c.Close(); err != nil {
					b.Error(err)
				}
				b.StartTimer()
			}
		})
	}
}

// greet is one call on a connection of its own.
func greet(b *testing.B, c *Capsid) string {
	b.Helper()
	network, address, _ := strings.Cut(c.Info().Socket, ":")
	conn, err := net.Dial(network, address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		b.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(answer)
}

// BenchmarkCall is a round trip to a service within walls, and beside each one to a service without, in turns. The ratio is
// that of the medians.
func BenchmarkCall(b *testing.B) {
	var calls [2]func()
	for n, open := range []bool{false, true} {
		cfg := service(b, "serves")
		cfg.Open = open
		c, err := StartCapsid(b.Context(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Stop(context.Background())
		network, address, _ := strings.Cut(c.Info().Socket, ":")
		conn, err := net.Dial(network, address)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		calls[n] = func() {
			if _, err := fmt.Fprintln(conn, "hello"); err != nil {
				b.Fatal(err)
			}
			if _, err := answers.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
	}
	var took [2][]time.Duration
	for turn := 0; b.Loop(); turn++ {
		for n := range calls {
			n = (n + turn) % len(calls)
			began := time.Now()
			calls[n]()
			took[n] = append(took[n], time.Since(began))
		}
	}
	var median [2]time.Duration
	for n, list := range took {
		slices.Sort(list)
		median[n] = list[len(list)/2]
	}
	b.ReportMetric(float64(median[0]), "ns/call")
	b.ReportMetric(float64(median[1]), "ns/open-call")
	b.ReportMetric(float64(median[0])/float64(median[1]), "ratio")
}
