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
