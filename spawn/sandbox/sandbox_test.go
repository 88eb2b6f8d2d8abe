//go:build linux

package sandbox

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = 30 * time.Second

// play runs one deed in a box and returns what it said.
func play(t *testing.T, box Box, deed string) (said string, status Status) {
	t.Helper()
	said, status, _ = playTold(t, box, deed)
	return said, status
}

// playTold is play, and returns what the sandbox told of denials, too.
func playTold(t *testing.T, box Box, deed string) (said string, status Status, told []string) {
	t.Helper()
	var out bytes.Buffer
	box = outfit(t, box)
	box.Denied = func(what string) { told = append(told, what) }
	box.Env = append(box.Env, guest+"="+deed)
	box.Stdout, box.Stderr = &out, &out
	p, err := Start(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("%s does not end; it said %q", deed, out.String())
	}
	status, err = p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String()), status, told
}

// outfit gives a box the test binary as its program, with the libraries of a dynamic one.
func outfit(t *testing.T, box Box) Box {
	t.Helper()
	if !box.Open && !Probe().Enough() {
		t.Skipf("no sandbox here: %s", Probe().WallsErr)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if box.Name == "" {
		box.Name = "test"
	}
	box.Args = []string{own}
	box.Read = append(box.Read, own, "/lib", "/lib64", "/usr/lib")
	return box
}

// folder is a folder that the program of a box may write to, if it is let.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	uid, gid := User("test")
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

func denied(t *testing.T, box Box, deed string) {
	t.Helper()
	if said, _ := play(t, box, deed); !strings.HasPrefix(said, "denied") {
		t.Errorf("%s: %s", deed, said)
	}
}

func done(t *testing.T, box Box, deed string) string {
	t.Helper()
	said, _ := play(t, box, deed)
	text, ok := strings.CutPrefix(said, "done")
	if !ok {
		t.Errorf("%s: %s", deed, said)
	}
	return strings.TrimSpace(text)
}

func TestHomeAndTheRestOfTheDiskAreOutOfSight(t *testing.T) {
	home := t.TempDir()
	secret := filepath.Join(home, ".ssh", "id_ed25519")
	if err := errors.Join(os.Mkdir(filepath.Dir(secret), 0o755), os.WriteFile(secret, []byte("secret"), 0o644)); err != nil {
		t.Fatal(err)
	}
	scratch := folder(t)
	box := Box{Scratch: scratch}
	for _, deed := range []string{
		"read " + secret, "list " + home, "read /etc/passwd", "list /root", "list /home", "read /proc/1/environ",
		"write " + filepath.Join(home, "x"), "write /x", "write /etc/x", "write " + filepath.Join(filepath.Dir(os.Args[0]), "x"),
		"write /dev/sda", "mknod " + filepath.Join(scratch, "disk"),
	} {
		denied(t, box, deed)
	}
	done(t, box, "write "+filepath.Join(scratch, "x"))
	if list, err := os.ReadDir(scratch); err != nil || Probe().Mounts() && len(list) > 0 {
		t.Errorf("what went with the box is on the disk: %v, %v", list, err)
	}
	done(t, Box{Read: []string{secret}}, "read "+secret)
	denied(t, Box{Read: []string{secret}}, "write "+secret)
	done(t, Box{Write: []string{scratch}}, "write "+filepath.Join(scratch, "kept"))
	if _, err := os.Stat(filepath.Join(scratch, "kept")); err != nil {
		t.Error(err)
	}
}

func TestASocketFolderTakesSocketsAlone(t *testing.T) {
	if Probe().Landlock == 0 {
		t.Skip("this kernel has no Landlock, which tells sockets from files")
	}
	dir := folder(t)
	box := Box{Sockets: []string{dir}}
	done(t, box, "listen unix:"+filepath.Join(dir, "s"))
	denied(t, box, "write "+filepath.Join(dir, "x"))
}

func TestWithoutNetworkThereIsNone(t *testing.T) {
	tcp, udp := loopback(t)
	for _, deed := range []string{
		"dial tcp:" + tcp, "dial udp:" + udp, "dial tcp:169.254.169.254:80", "dial udp:169.254.169.254:53",
		"listen tcp:127.0.0.1:0", "fastopen " + tcp,
		"socket 2 1 262" /* MPTCP */, "socket 2 3 1" /* raw */, "socket 17 3 0" /* packets */, "socket 16 3 0", /* netlink */
		"socket 40 1 0" /* VSOCK */, "socket 38 5 0", /* AF_ALG */
	} {
		denied(t, Box{}, deed)
	}
}

func TestOnePortIsThatPortAlone(t *testing.T) {
	if l := Probe(); l.Landlock < 4 || !l.Seccomp {
		t.Skip("needs Landlock 4 and seccomp")
	}
	tcp, udp := loopback(t)
	port := freePort(t)
	box := Box{Port: port}
	done(t, box, "listen tcp:127.0.0.1:"+strconv.Itoa(int(port)))
	for _, deed := range []string{
		"listen tcp:127.0.0.1:0", "dial tcp:" + tcp, "dial udp:" + udp, "fastopen " + tcp, "socket 2 1 262", "socket 2 3 1", "socket 2 2 0",
	} {
		denied(t, box, deed)
	}
}

func TestTheNetworkIsThereWhenItMay(t *testing.T) {
	tcp, udp := loopback(t)
	box := Box{Network: true}
	done(t, box, "dial tcp:"+tcp)
	done(t, box, "dial udp:"+udp)
	for _, deed := range []string{"socket 2 3 1", "socket 17 3 0", "socket 40 1 0"} {
		denied(t, box, deed)
	}
}

func loopback(t *testing.T) (tcp, udp string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return l.Addr().String(), c.LocalAddr().String()
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestTheKernelIsOutOfReach(t *testing.T) {
	if !Probe().Seccomp {
		t.Skip("no seccomp")
	}
	for deed, want := range map[string]string{
		"ptrace": "operation not permitted", "mount": "operation not permitted", "unshare": "operation not permitted",
		"keyctl": "operation not permitted", "bpf": "operation not permitted", "tiocsti": "operation not permitted",
		"iouring": "function not implemented", "kill " + strconv.Itoa(os.Getpid()): "",
	} {
		if said, _ := play(t, Box{}, deed); !strings.HasPrefix(said, "denied") || !strings.Contains(said, want) {
			t.Errorf("%s: %s, want %s", deed, said, want)
		}
	}
}

func TestWhatIsRefusedIsTold(t *testing.T) {
	if !Probe().Seccomp || !canTell() {
		t.Skip("no seccomp, or a kernel that does not ask")
	}
	for deed, want := range map[string]string{
		"ptrace": "ptrace", "mount": "mount", "unshare": "unshare", "keyctl": "keyctl", "bpf": "bpf", "tiocsti": "ioctl TIOCSTI",
		"socket 2 1 262": "socket(IPv4, stream, mptcp)", "socket 2 2 0": "socket(IPv4, datagram, default)", "socket 17 3 0": "socket(packet, raw, default)",
		"socket 10 3 58": "socket(IPv6, raw, 58)", "socket 16 3 0": "socket(netlink, raw, default)", "socket 40 1 0": "socket(vsock, stream, default)",
		"socket 38 5 0": "socket(alg, seqpacket, default)",
	} {
		if said, _, told := playTold(t, Box{}, deed); !slices.Equal(told, []string{want}) {
			t.Errorf("%s: %s; told of %q, want %q", deed, said, told, want)
		}
	}
	if said, _, told := playTold(t, Box{}, "nothing"); len(told) != 0 {
		t.Errorf("nothing: %s; told of %q", said, told)
	}
	if Probe().Cgroup > 0 {
		if said, _, told := playTold(t, Box{Limits: Limits{Pids: 40}}, "forks 10000"); len(told) != 1 || !strings.HasPrefix(told[0], "processes and threads beyond 40") {
			t.Errorf("forks: %s; told of %q", said, told)
		}
	}
}

// A program that tries without end neither fills the owner's log nor holds itself up for long.
func TestEachKindOfRefusalIsToldOnce(t *testing.T) {
	if !Probe().Seccomp || !canTell() {
		t.Skip("no seccomp, or a kernel that does not ask")
	}
	said, status, told := playTold(t, Box{}, "sockets 20000")
	if said != "done 20000" || !status.OK() || len(told) != maxDenied {
		t.Errorf("%s, %s; told of %d kinds", said, status, len(told))
	}
}

func TestNoPrivilegeIsLeft(t *testing.T) {
	if Probe().Walls == WallsNone {
		t.Skip("without namespaces there is no /proc to look at")
	}
	if held := done(t, Box{}, "capabilities"); held != "" {
		t.Error(held)
	}
	if os.Geteuid() == 0 && Probe().Walls != WallsUser {
		denied(t, Box{}, "setuid")
	}
}

func TestNothingIsInherited(t *testing.T) {
	t.Setenv("SANDBOX_TEST_SECRET", "secret")
	if env := done(t, Box{Env: []string{"A=b"}}, "environ"); env != "A=b "+guest+"=environ" {
		t.Errorf("the program's environment is %q", env)
	}
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, file.Fd(), syscall.F_SETFD, 0); errno != 0 { // as left open by a shell
		t.Fatal(errno)
	}
	if open := done(t, Box{}, "descriptors"); open != "0 1 2" {
		t.Errorf("open are %s", open)
	}
}

func TestAForkBombIsContained(t *testing.T) {
	said := done(t, Box{Limits: Limits{Pids: 40}}, "forks 10000")
	if n, err := strconv.Atoi(said); err != nil || n > 100 {
		t.Errorf("%s processes, with a limit of 40", said)
	}
}

func TestTheDiskIsNotFilled(t *testing.T) {
	scratch := folder(t)
	if !Probe().Mounts() && Probe().Walls != WallsBubblewrap {
		t.Skip("without namespaces a limit holds for each file alone")
	}
	said := done(t, Box{Scratch: scratch, Limits: Limits{Disk: 64 << 20}}, "fill "+scratch+" 10240")
	if n, err := strconv.Atoi(said); err != nil || n > 64 || n < 32 {
		t.Errorf("%s MiB, with a limit of 64", said)
	}
}

func TestMemoryIsNotEaten(t *testing.T) {
	if Probe().Walls == WallsNone && Probe().Cgroup == 0 {
		t.Skip("neither a cgroup nor namespaces to add memory up in")
	}
	said, status := play(t, Box{Limits: Limits{Memory: 64 << 20}}, "memory 10240")
	if strings.HasPrefix(said, "done") || status.OK() {
		t.Errorf("%s, %s", said, status)
	}
	if Probe().Walls != WallsNone && status.Reason != ReasonMemory && !strings.Contains(said, "out of memory") {
		t.Errorf("the reason is %q; it said %s", status.Reason, said)
	}
}

func TestStoppingIsClean(t *testing.T) {
	p, conn := holding(t, Box{}, "wait")
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	if s, err := p.Wait(); err != nil || s.Signal != int(syscall.SIGTERM) || s.Reason != "" {
		t.Errorf("%+v, %v", s, err)
	}
	gone(t, conn)
}

func TestWhoIsDeafIsKilled(t *testing.T) {
	p, conn := holding(t, Box{}, "hold")
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	gone(t, conn)
}

func TestWhatThePogramLeavesEndsWithIt(t *testing.T) {
	for _, open := range []bool{false, true} {
		p, conn := holding(t, Box{Open: open}, "orphan")
		<-p.Done()
		gone(t, conn)
	}
}

// holding starts a program that connects to us; the connection lasts as long as the process that holds it.
func holding(t *testing.T, box Box, deed string) (*Process, net.Conn) {
	t.Helper()
	dir := folder(t)
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	uid, gid := User("test")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	box = outfit(t, box)
	box.Sockets = []string{dir}
	box.Env = []string{guest + "=" + deed + " " + path}
	box.Stdout, box.Stderr = t.Output(), t.Output()
	p, err := Start(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return p, conn
}

func gone(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); os.IsTimeout(err) || err == nil {
		t.Errorf("a process of the box lives: %v", err)
	}
}

// The owner is a process of its own here, killed by kill -9.
func TestNothingOutlivesItsOwner(t *testing.T) {
	for _, kind := range []string{"walls", "open"} {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		own, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		owner := exec.Command(own, "-test.run=^TestOwner$", "-test.v")
		owner.Env = append(os.Environ(), "SANDBOX_TEST_OWNER="+kind+" "+path)
		owner.Stdout, owner.Stderr = t.Output(), t.Output()
		if err := owner.Start(); err != nil {
			t.Fatal(err)
		}
		if err := l.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		killed := owner.Process.Kill()
		_ = owner.Wait()
		if err := errors.Join(err, killed); err != nil {
			t.Fatal(err)
		}
		gone(t, conn)
		conn.Close()
		l.Close()
	}
}

// TestOwner is the process that TestNothingOutlivesItsOwner kills.
func TestOwner(t *testing.T) {
	kind, path, ok := strings.Cut(os.Getenv("SANDBOX_TEST_OWNER"), " ")
	if !ok {
		t.Skip("is played by another test")
	}
	box := outfit(t, Box{Open: kind == "open", Sockets: []string{filepath.Dir(path)}})
	box.Env = []string{guest + "=hold " + path}
	p, err := Start(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

func TestOutputIsCollectedAndLinksAreNot(t *testing.T) {
	scratch := folder(t)
	output := filepath.Join(scratch, "out", "bin")
	to, err := os.Create(filepath.Join(t.TempDir(), "bin"))
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	box := Box{Scratch: scratch, Collect: output, CollectTo: to, CollectMax: 100}
	done(t, box, "output "+output)
	if data, err := os.ReadFile(to.Name()); err != nil || string(data) != "made" {
		t.Errorf("%q, %v", data, err)
	}
	box = outfit(t, box)
	box.Collect = filepath.Join(scratch, "link")
	box.Env = []string{guest + "=link " + box.Args[0] + " " + box.Collect}
	p, err := Start(t.Context(), box)
	if err != nil {
		t.Fatal(err)
	}
	var refused *SetupError
	if _, err := p.Wait(); !errors.As(err, &refused) {
		t.Errorf("a link was collected: %v", err)
	}
}

func TestAMissingProgramIsAClearError(t *testing.T) {
	box := outfit(t, Box{})
	box.Args = []string{"/nowhere/program"}
	_, err := Start(t.Context(), box)
	var refused *SetupError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "/nowhere/program") {
		t.Error(err)
	}
}

func TestStartIsQuick(t *testing.T) {
	Probe()
	begun := time.Now()
	const rounds = 10
	for range rounds {
		done(t, Box{}, "nothing")
	}
	t.Logf("%s: %v for a start and an end; probing apart", Probe(), time.Since(begun)/rounds)
}

// The deeds that a box forbids are possible here without one, so that being denied means something.
func TestTheSameDeedsSucceedWithoutWalls(t *testing.T) {
	tcp, udp := loopback(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, deed := range []string{
		"read " + secret, "write " + filepath.Join(folder(t), "x"), "dial tcp:" + tcp, "dial udp:" + udp, "listen tcp:127.0.0.1:0",
		"fastopen " + tcp, "ptrace", "kill " + strconv.Itoa(os.Getpid()),
	} {
		done(t, Box{Open: true}, deed)
	}
}

// As root, the tests are played again by an ordinary user, and both do so with other kinds of walls.
func TestAllThatAsOthersAndWithLess(t *testing.T) {
	if testing.Short() {
		t.Skip("most tests of the package, many times")
	}
	if os.Geteuid() != 0 || os.Getenv(without) != "" {
		t.Skip("is for root")
	}
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data, err := os.ReadFile("/proc/self/exe")
	own := filepath.Join(dir, "test")
	if err := errors.Join(err, os.WriteFile(own, data, 0o755), os.Chmod(dir, 0o777), os.Chmod(own, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, as := range []struct {
		uid   uint32
		walls Walls
	}{{nobody, WallsUser}, {0, WallsUser}, {nobody, WallsBubblewrap}, {0, WallsNone}, {nobody, WallsNone}} {
		t.Run(strconv.Itoa(int(as.uid))+" "+string(as.walls), func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), own, "-test.v", "-test.timeout=100s")
			cmd.Dir = dir
			cmd.Env = []string{"TMPDIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), without + "=" + string(as.walls)}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as.uid, Gid: as.uid}}
			out, err := cmd.CombinedOutput()
			if why, ok := strings.CutPrefix(string(out), "SKIP: "); ok {
				t.Skip(strings.TrimSpace(why))
			}
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
