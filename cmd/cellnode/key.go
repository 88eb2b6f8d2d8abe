package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
	"github.com/cellnode/cellnode/manifest"
)

// publisherName is the key with which grants are signed, unless another is named.
const publisherName = "publisher"

func newKey(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Make and show the keys of a cell's publishers",
		Long: `A publisher's key lies in keys/NAME of the home directory; NAME is "publisher" unless another is given.
Whoever holds it decides who serves the cells that name it under [trust]. Keep a second one, named there as
well, where no machine is: with it you can go on when the first is lost.`,
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "new [NAME]", Short: "Make a key, and print it as it stands in [trust] keys", Args: oneName,
			RunE: func(cmd *cobra.Command, args []string) error { return showKey(cmd, g, args, makeKey) },
		},
		&cobra.Command{
			Use: "show [NAME]", Short: "Print a key as it stands in [trust] keys", Args: oneName,
			RunE: func(cmd *cobra.Command, args []string) error { return showKey(cmd, g, args, publisherKey) },
		},
	)
	return cmd
}

func showKey(cmd *cobra.Command, g *globals, args []string, get func(*home.Dir, string) (crypto.PrivKey, error)) error {
	dir, err := home.Open()
	if err != nil {
		return err
	}
	name := append(args, publisherName)[0]
	if err := manifest.CheckName(name); err != nil {
		return err
	}
	key, err := get(dir, name)
	if err != nil {
		return err
	}
	text, err := keyText(key)
	if err != nil {
		return err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	v := struct {
		Name string `json:"name"`
		Key  string `json:"key"`
		Peer string `json:"peer"` // the same key, as grants name whoever may issue
		Path string `json:"path"`
	}{name, text, id.String(), dir.Path("keys", name)}
	return g.print(cmd, v, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

// keyText is the public half as it stands in [trust] keys.
func keyText(key crypto.PrivKey) (string, error) {
	raw, err := key.GetPublic().Raw()
	if err != nil {
		return "", err
	}
	return manifest.FormatKey(ed25519.PublicKey(raw)), nil
}

// makeKey makes a key where there is none.
func makeKey(dir *home.Dir, name string) (crypto.PrivKey, error) {
	if _, err := dir.Sub("keys"); err != nil {
		return nil, err
	}
	key, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		return nil, err
	}
	if err := home.WriteKey(dir.Path("keys", name), key); errors.Is(err, fs.ErrExist) {
		return nil, usage("there is a key %s already: `cellnode key show %s` prints it; give another name for another key", dir.Path("keys", name), name)
	} else if err != nil {
		return nil, err
	}
	return key, nil
}

func publisherKey(dir *home.Dir, name string) (crypto.PrivKey, error) {
	key, err := home.ReadKey(dir.Path("keys", name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usage("there is no key %s: make one with `cellnode key new %s`, and name it under [trust] in Cell.toml", dir.Path("keys", name), name)
	}
	return key, err
}
