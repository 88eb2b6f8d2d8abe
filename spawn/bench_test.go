//go:build unix

package spawn

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
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

// BenchmarkCall is a round trip to a service, with walls around it and without.
func BenchmarkCall(b *testing.B) {
	for _, open := range []bool{false, true} {
		b.Run(map[bool]string{false: "sandbox", true: "open"}[open], func(b *testing.B) {
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
			for b.Loop() {
				if _, err := fmt.Fprintln(conn, "hello"); err != nil {
					b.Fatal(err)
				}
				if _, err := answers.ReadString('\n'); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
