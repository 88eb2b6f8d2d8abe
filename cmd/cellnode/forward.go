package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/cobra"
)

func newForward(g *globals) *cobra.Command {
	f := cellFlags{calls: true}
	cmd := &cobra.Command{
		Use:   "forward CELL ADDRESS",
		Short: "Open a local port or socket whose connections go to the nearest live instance",
		Example: `  cellnode forward exchange 127.0.0.1:7000
  cellnode forward exchange unix:/tmp/exchange.sock`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("forward takes a CELL and the local address to listen on: HOST:PORT or unix:PATH")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client(cmd, g, args[0])
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Check(cmd.Context(), args[0]); err != nil {
				return err
			}
			l, err := listenLocal(args[1])
			if err != nil {
				return err
			}
			defer l.Close()
			ctx, cancel := g.context(cmd, 0)
			defer cancel()
			at := struct {
				Cell   string `json:"cell"`
				Listen string `json:"listen"`
			}{args[0], l.Addr().String()}
			err = g.print(cmd, at, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "forwarding %s to %s\n", at.Listen, at.Cell)
				return err
			})
			if err != nil {
				return err
			}
			return c.Forward(ctx, l, args[0])
		},
	}
	f.register(cmd)
	return cmd
}

func listenLocal(addr string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		network, addr = "unix", path
	} else if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usage("%q is not HOST:PORT or unix:PATH", addr)
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return nil, usage("%w: choose another address", err)
	}
	return l, nil
}
