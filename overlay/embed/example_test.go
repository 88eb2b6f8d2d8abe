package embed_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// A Go service serves its cell itself, with a node of its own, and a client calls it by the cell's name. Both would be programs
// of their own; generated code does the registration.
func Example() {
	ctx := context.Background()
	cell := manifest.Cell{Repository: "file:/srv/git/greeter", Tag: "v1.0.0"}
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	node, err := overlay.New(ctx, overlay.Config{Key: key, Listen: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	service, err := node.Listen(ctx, overlay.Service{Cell: cell})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	go func() {
		for {
			conn, err := service.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "good day")
			conn.Close()
		}
	}()

	client.Register(client.Registration{
		Name: "greeter", Repository: cell.Repository, Tag: cell.Tag, AllowOpen: true,
		Seeds: []client.Seed{{Peer: node.ID().String(), Addrs: []string{node.Listening()[0].String()}}},
	})
	home, err := os.MkdirTemp("", "home")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(home)
	c, err := client.New(client.Config{Home: home})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	conn, err := c.Dial(ctx, "greeter")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		fmt.Println(err)
		return
	}
	// Output: good day
}
