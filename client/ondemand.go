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
func (l *lazyNode) daemonCommand() []string {
	if l.home == nil || !daemonAuto() {
		return nil
	}
	command, err := l.home.DaemonCommand()
	if err != nil {
		l.log.Warn("the machine's node is not started on demand", "err", err)
	}
	return command
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
