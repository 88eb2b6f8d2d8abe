package client

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// startLimit is how long the machine's node may take to start on demand.
const startLimit = 20 * time.Second

// daemonCommand is what starts the machine's node on demand; nil if nothing is installed or CELL_DAEMON says not to.
func (l *lazyNode) daemonCommand() ([]string, error) {
	if l.home == nil || !daemonAuto() {
		return nil, nil
	}
	return l.home.DaemonCommand()
}

// startInstalled is startDaemon with the command that is installed; without one it does nothing.
func (l *lazyNode) startInstalled(ctx context.Context) error {
	command, err := l.daemonCommand()
	if command == nil || err != nil {
		return err
	}
	if err := l.startDaemon(ctx, command); err != nil {
		return fmt.Errorf("the machine's node does not start: %w", err)
	}
	return nil
}

// startDaemon starts the machine's node and returns when it answers. Of many processes that do so at once one starts it.
func (l *lazyNode) startDaemon(ctx context.Context, command []string) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
