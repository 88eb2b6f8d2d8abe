//go:build linux

package sandbox

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// act does a deed "NAME ARGUMENT" and prints "done …" or "denied …".
func act(deed string) int {
	name, arg, _ := strings.Cut(deed, " ")
	text, err := deeds[name](arg)
	if err != nil {
		fmt.Println("denied", err)
		return 0
	}
	fmt.Println("done", text)
	return 0
}

var deeds = map[string]func(arg string) (string, error){
	"read": func(path string) (string, error) {
		data, err := os.ReadFile(path)
		return string(data), err
	},
	"list": func(path string) (string, error) {
		list, err := os.ReadDir(path)
		return fmt.Sprint(list), err
	},
	"write": func(path string) (string, error) { return "", os.WriteFile(path, []byte("x"), 0o600) },
	"dial": func(address string) (string, error) {
		network, address, _ := strings.Cut(address, ":")
		conn, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return "", err
		}
		if network == "udp" {
			_, err = conn.Write([]byte("x"))
		}
		return "", errors.Join(err, conn.Close())
	},
	"listen": func(address string) (string, error) {
		network, address, _ := strings.Cut(address, ":")
		l, err := net.Listen(network, address)
		if err != nil {
			return "", err
		}
		return "", l.Close()
	},
	"socket": func(arg string) (string, error) {
		var domain, kind, protocol int
		if _, err := fmt.Sscan(arg, &domain, &kind, &protocol); err != nil {
			return "", err
		}
		_, err := unix.Socket(domain, kind, protocol)
		return "", err
	},
	"sockets": func(arg string) (string, error) { // of families that there are not, each another one
		most, _ := strconv.Atoi(arg)
		for n := range most {
			if _, err := unix.Socket(100+n, unix.SOCK_RAW, 0); !errors.Is(err, unix.EPERM) {
				return "", fmt.Errorf("socket %d: %w", n, err)
			}
		}
		return arg, nil
	},
	"fastopen": func(address string) (string, error) { // TCP without connect(2)
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return "", err
		}
		_, port, _ := net.SplitHostPort(address)
		n, _ := strconv.Atoi(port)
		return "", unix.Sendto(fd, []byte("x"), 0x20000000, &unix.SockaddrInet4{Port: n, Addr: [4]byte{127, 0, 0, 1}})
	},
	"kill": func(pid string) (string, error) {
		n, _ := strconv.Atoi(pid)
		return "", unix.Kill(n, 0)
	},
	"ptrace":  func(string) (string, error) { return call(unix.SYS_PTRACE, unix.PTRACE_TRACEME, 0, 0) },
	"mount":   func(string) (string, error) { return "", unix.Mount("none", "/tmp", "tmpfs", 0, "") },
	"unshare": func(string) (string, error) { return "", unix.Unshare(unix.CLONE_NEWUSER) },
	"keyctl":  func(string) (string, error) { return call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 1) },
	"bpf":     func(string) (string, error) { return call(unix.SYS_BPF, 0, 0, 0) },
	"iouring": func(string) (string, error) { return call(unix.SYS_IO_URING_SETUP, 0, 0, 0) },
	"tiocsti": func(string) (string, error) {
		b := byte('x')
		return call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&b)))
	},
	"setuid": func(string) (string, error) {
		if _, err := call(unix.SYS_SETUID, 0, 0, 0); err != nil {
			return "", err
		}
		return fmt.Sprint(os.Getuid()), nil
	},
	"mknod":   func(path string) (string, error) { return "", unix.Mknod(path, unix.S_IFBLK|0o600, 0) },
	"environ": func(string) (string, error) { return strings.Join(os.Environ(), " "), nil },
	"descriptors": func(string) (string, error) {
		var open []string
		for fd := range 64 {
			if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
				var s unix.Stat_t
				_ = unix.Fstat(fd, &s)
				if s.Mode&unix.S_IFMT == unix.S_IFREG || fd < 3 {
					open = append(open, strconv.Itoa(fd))
				}
			}
		}
		return strings.Join(open, " "), nil
	},
	"capabilities": func(string) (string, error) {
		var held []string
		file, err := os.Open("/proc/self/status")
		if err != nil {
			return "", err
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if f := strings.Fields(lines.Text()); strings.HasPrefix(f[0], "Cap") && strings.Trim(f[1], "0") != "" {
				held = append(held, lines.Text())
			}
		}
		return strings.Join(held, " "), nil
	},
	"forks":  forkBomb,
	"fill":   fill,
	"memory": eat,
	"orphan": func(path string) (string, error) { // leaves a child in a session of its own
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{guest + "=hold " + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = bufio.NewReader(out).ReadString('\n')
		}
		return "", err
	},
	"hold": func(path string) (string, error) { // connects and stays, deaf to SIGTERM
		signal.Ignore(unix.SIGTERM)
		conn, err := net.Dial("unix", path)
		if err != nil {
			return "", err
		}
		fmt.Println("held")
		_, err = io.Copy(io.Discard, conn)
		return "", err
	},
	"wait": func(path string) (string, error) { // the same, and ends upon SIGTERM
		conn, err := net.Dial("unix", path)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(io.Discard, conn)
		return "", err
	},
	"nothing": func(string) (string, error) { return "", nil },
	"output": func(path string) (string, error) {
		return "", errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("made"), 0o700))
	},
	"link": func(arg string) (string, error) {
		to, at, _ := strings.Cut(arg, " ")
		return "", os.Symlink(to, at)
	},
}

func call(number, a, b, c uintptr) (string, error) {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return "", errno
	}
	return "", nil
}

// forkBomb starts children, which do nothing but stay, until it may not; it prints how many there are.
func forkBomb(arg string) (string, error) {
	most, _ := strconv.Atoi(arg)
	for n := range most {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return strconv.Itoa(n), nil
		}
		if pid == 0 {
			for {
				unix.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
			}
		}
	}
	return arg, nil
}

// fill writes until it may not, in files of 16 MiB, and prints how many MiB there are.
func fill(arg string) (string, error) {
	dir, most, _ := strings.Cut(arg, " ")
	limit, _ := strconv.Atoi(most)
	signal.Ignore(unix.SIGXFSZ)
	block := make([]byte, 1<<20)
	total := 0
	for n := 0; total < limit; n++ {
		file, err := os.Create(filepath.Join(dir, strconv.Itoa(n)))
		if err != nil {
			return strconv.Itoa(total), nil
		}
		for range 16 {
			if _, err := file.Write(block); err != nil {
				return strconv.Itoa(total), nil
			}
			total++
		}
		file.Close()
	}
	return strconv.Itoa(total), nil
}

// eat holds so many MiB and stays.
func eat(arg string) (string, error) {
	most, _ := strconv.Atoi(arg)
	var held [][]byte
	for range most {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		held = append(held, block)
	}
	return strconv.Itoa(len(held)), nil
}
