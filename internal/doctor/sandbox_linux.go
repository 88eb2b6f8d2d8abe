package doctor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cellnode/cellnode/spawn/sandbox"
)

// sandboxed says which of the layers there are that a spawned instance is shut into: namespaces, Landlock, seccomp,
// cgroups. Each is tried, where that changes nothing.
func sandboxed(ctx context.Context, m *machine) []Finding {
	return []Finding{whole(sandbox.Probe()), namespaces(ctx, m), bubblewrap(), landlock(), m.seccomp(), m.cgroup()}
}

// whole says what a spawned instance is in fact shut into here.
func whole(l sandbox.Layers) Finding {
	switch {
	case !l.Enough():
		return finding(Warning, "spawned instances cannot be shut in here, so none is started", "see the lines below, or write sandbox = \"none\" under the cell's policy to take them as they are")
	case l.Cgroup == 0:
		return finding(OK, "spawned instances are shut in by "+l.String()+"; processors are not limited", "")
	}
	return finding(OK, "spawned instances are shut in by "+l.String(), "")
}

// namespaces starts a program that does nothing in namespaces of its own.
func namespaces(ctx context.Context, m *machine) Finding {
	cmd := exec.CommandContext(ctx, "true")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
	}
	err := cmd.Run()
	if err == nil {
		return finding(OK, "namespaces: this user may make its own (user, mount, process, network)", "")
	}
	text := fmt.Sprintf("namespaces: this user may not make its own: %v", err)
	switch {
	case m.sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
		return finding(Warning, text+" (AppArmor forbids it)", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or sudo apt install bubblewrap")
	case m.sysctl("kernel/unprivileged_userns_clone") == "0":
		return finding(Warning, text, "sudo sysctl -w kernel.unprivileged_userns_clone=1")
	case m.sysctl("user/max_user_namespaces") == "0":
		return finding(Warning, text, "sudo sysctl -w user.max_user_namespaces=10000")
	}
	return finding(Warning, text, "in a container: let it (docker run --security-opt seccomp=unconfined), or rely on the container itself")
}

// bubblewrap is used where it is there, since distributions allow it what they forbid others.
func bubblewrap() Finding {
	path, err := exec.LookPath("bwrap")
	if err != nil {
		return finding(Unknown, "bubblewrap: not installed; own namespaces do as well where they are allowed", "sudo apt install bubblewrap")
	}
	return finding(OK, "bubblewrap: "+path, "")
}

// landlock asks the kernel for its version of Landlock (landlock_create_ruleset(2) with
// LANDLOCK_CREATE_RULESET_VERSION).
func landlock() Finding {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return finding(Warning, fmt.Sprintf("landlock: this kernel has none: %v", errno), "use Linux 5.13 or later, with landlock among the modules in the boot parameter lsm=")
	}
	return finding(OK, fmt.Sprintf("landlock: version %d", version), "")
}

func (m *machine) seccomp() Finding {
	if actions := m.sysctl("kernel/seccomp/actions_avail"); strings.Contains(actions, "errno") {
		return finding(OK, "seccomp: filters can be set", "")
	}
	return finding(Warning, "seccomp: this kernel has no filters", "use a kernel with CONFIG_SECCOMP_FILTER")
}

// cgroup says whether limits of memory, processors and processes can be set for a group of processes.
func (m *machine) cgroup() Finding {
	data, err := os.ReadFile(filepath.Join(m.Root, "sys/fs/cgroup/cgroup.controllers"))
	if err != nil {
		if sandbox.Probe().Cgroup == 1 {
			return finding(OK, "cgroup: version 1, in which this user may make groups", "")
		}
		return finding(Warning, "cgroup: version 2 is not there; limits are set for each process instead (rlimits)", "boot with systemd.unified_cgroup_hierarchy=1")
	}
	own, err := os.ReadFile(filepath.Join(m.Root, "proc/self/cgroup"))
	_, path, _ := strings.Cut(string(bytes.TrimSpace(own)), "::")
	if dir := filepath.Join(m.Root, "sys/fs/cgroup", path); err != nil || unix.Access(dir, unix.W_OK) != nil {
		return finding(Unknown, "cgroup: this user may not make groups here; limits are set for each process instead (rlimits)", "run under systemd: systemd-run --user --scope -p Delegate=yes …")
	}
	return finding(OK, "cgroup: "+strings.Join(strings.Fields(string(data)), " "), "")
}
