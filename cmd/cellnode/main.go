// Command cellnode runs a node beside an instance of a cell, finds and dials live instances by the cell's name, and
// steers local networks of nodes. `cellnode help` lists what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	_ "github.com/cellnode/cellnode/overlay/embed" // find works without a daemon
	"github.com/cellnode/cellnode/spawn/sandbox"
)

func main() {
	sandbox.Init() // first: the init of a sandbox is this executable too
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// The warning about the size of UDP buffers that quic-go prints once would stand in the middle of a command's output; it
// matters for bulk transfer alone.
func init() {
	if os.Getenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING") == "" {
		os.Setenv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING", "true")
	}
}

// run is main without the process: it returns the exit code.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errSilent) {
		fmt.Fprintf(errs, "cellnode: %s\n", oneLine(err))
	}
	return exitCode(err)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "cellnode",
		Short: "Find and call live instances of a service by the name of its git repository",
		Long: `cellnode finds live instances of a cell – a service in a git repository, at a tag –
anywhere, with no hub in the middle.

A CELL is a name from the nearest Cell.toml, or host/path@tag, or URL@tag.

Exit codes: 0 done or found, 1 none live, 2 bad usage or bad input, 3 refused by
policy, 4 network or git unreachable, 5 interface mismatch.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	f := new(globals)
	root.PersistentFlags().BoolVar(&f.json, "json", false, "print JSON, one object a line where the output is a stream")
	root.PersistentFlags().DurationVar(&f.timeout, "timeout", 0, "give up after this time (0: the command's own default)")
	root.PersistentFlags().BoolVarP(&f.verbose, "verbose", "v", false, "log what happens to standard error")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		if f.timeout < 0 {
			return usage("--timeout is %v: it must be above 0", f.timeout)
		}
		return nil
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w (see `%s --help`)", err, cmd.CommandPath())
	})
	root.AddCommand(
		newRun(f), newDaemon(f), newStatus(f), newPeers(f), newEvents(f), newDrain(f),
		newFind(f), newExplain(f), newWatch(f), newPing(f), newForward(f),
		newSpawn(f), newPs(f), newStop(f), newLogs(f), newCache(f),
		newSeeds(f), newRemote(f), newBuild(f), newCheck(f), newVendor(f),
		newKey(f), newGrant(f), newTrust(f), newVerify(f), newInit(f), newPublish(f), newID(f), newConfig(f), newDoctor(f), newTestnet(f), newVersion(f),
	)
	root.InitDefaultCompletionCmd()
	refuseUnknown(root)
	return root
}

// refuseUnknown lets cmd, and those below it, answer an unknown command with an error: cobra would show the help and end
// well.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() {
		return
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		hint := fmt.Sprintf("`%s --help` lists them", cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return usage("%s has no command %q: %s", cmd.CommandPath(), args[0], hint)
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no argument, and %q is one", cmd.CommandPath(), args[0])
	}
	return nil
}
