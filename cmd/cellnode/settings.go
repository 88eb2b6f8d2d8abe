package main

import (
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cellnode/cellnode/internal/home"
)

// openHome opens the home directory of a node and checks its settings, and those of the environment and of the layers
// above before it makes anything.
func openHome(above ...home.Layer) (*home.Dir, error) {
	if _, err := home.ParseConfig("", nil, append([]home.Layer{home.Environment(os.Getenv)}, above...)...); err != nil {
		return nil, err
	}
	dir, err := home.Open()
	if err != nil {
		return nil, err
	}
	_, err = dir.Config(above...)
	return dir, err
}

// settingFlags are the flags of commands that run a node, each in place of a key of config.toml.
type settingFlags struct{ given map[string]*[]string }

func (f *settingFlags) register(cmd *cobra.Command) {
	f.given = map[string]*[]string{}
	for name, usage := range map[string]string{
		"advertise": "announce these addresses, too, such as a forwarded port: /ip4/203.0.113.9/udp/40000/quic-v1",
		"bootstrap": "enter the network through these: addresses that end in /p2p/PEER, or cells whose seed lists name some",
		"listen":    "bind these addresses instead of UDP and TCP 40000",
	} {
		f.given["--"+name] = cmd.Flags().StringSlice(name, nil, usage)
	}
}

// layer is what was given on the command line.
func (f *settingFlags) layer() home.Layer {
	texts := map[string]string{}
	for name, list := range f.given {
		texts[name] = strings.Join(*list, ",")
	}
	return home.Flags(texts)
}

// args is what was given, for another process.
func (f *settingFlags) args() []string {
	var args []string
	for _, name := range slices.Sorted(maps.Keys(f.given)) {
		if list := *f.given[name]; len(list) > 0 {
			args = append(args, name, strings.Join(list, ","))
		}
	}
	return args
}

// outliveLog has writes to a closed pipe fail, which otherwise end a program (os/signal, "SIGPIPE"): a log that nobody reads any
// more is no reason to. What the node starts is not touched by that, as it would be by ignoring the signal.
func outliveLog() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// onHangup calls reload on each SIGHUP, until done is called, and logs what it refuses.
func onHangup(log *slog.Logger, reload func() error) (done func()) {
	hangup, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for range hangup {
			if err := reload(); err != nil {
				log.Error("settings not taken", "err", err)
			}
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
		<-ended
	}
}

// checkSettings refuses settings that are wrong. A home directory that cannot be had is no error: a client does without.
func checkSettings() error {
	if _, err := home.ParseConfig("", nil, home.Environment(os.Getenv)); err != nil {
		return err
	}
	dir, err := home.Open()
	if err != nil {
		return nil
	}
	_, err = dir.Config()
	return err
}
