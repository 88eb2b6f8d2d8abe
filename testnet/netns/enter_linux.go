package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// inside is set in the environment of a program that Enter has started.
const inside = "CELLNODE_NETNS"

// Need is what Enter and the hosts call, with the Debian packages that it comes from.
const Need = "unshare and nsenter (util-linux), ip (iproute2), nft (nftables), and user namespaces that one may make"

// Enter runs the calling program again as root of new user, network, PID and mount namespaces. In the program that is
// called first, entered is false: it returns when the other has ended, with its exit code, and env is added to the
// other's environment. In that other one, entered is true and Enter has done nothing. Missing tools or rights are an
// error that says what to do.
func Enter(env ...string) (entered bool, code int, err error) {
	if os.Getenv(inside) != "" {
		return true, 0, nil
	}
	if err := usable(); err != nil {
		return false, 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return false, 0, fmt.Errorf("netns: %w", err)
	}
	cmd := unshare(append([]string{self}, os.Args[1:]...)...)
	cmd.Env = append(append(os.Environ(), inside+"=1"), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return false, 0, fmt.Errorf("netns: %w", err)
	}
	return false, cmd.ProcessState.ExitCode(), nil
}

// unshare is a command in new namespaces. It dies with this process, and everything in them with it.
func unshare(argv ...string) *exec.Cmd {
	args := append([]string{"--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"}, argv...)
	cmd := exec.Command("unshare", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// usable says what is missing on this machine, all of it in one error.
func usable() error {
	var missing []string
	for _, tool := range []string{"unshare", "nsenter", "ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, "no command "+tool)
		}
	}
	if len(missing) == 0 {
		// A TUN device and a table of nftables need more of the kernel than namespaces do.
		script := "nft add table inet probe && ip tuntap add dev probe mode tun"
		if out, err := unshare("sh", "-c", script).CombinedOutput(); err != nil {
			missing = append(missing, fmt.Sprintf("%q as root of new namespaces: %v: %s", script, err, strings.TrimSpace(string(out))))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("netns: this machine cannot: %s; needed are %s", strings.Join(missing, "; "), Need)
}
