package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is the name of a host's interface on the wire.
const Device = "eth0"

// A Host is a network namespace. It lives until Close and until the last process in it has ended.
type Host struct {
	space *os.File // the namespace
	wire  *Switch
	port  *port // nil: not on the wire
}

// NewHost makes a host whose one interface besides loopback is on the wire, up, and has these addresses. Each prefix is
// a network that the host believes to be on the wire as a whole.
func NewHost(wire *Switch, addrs ...netip.Prefix) (*Host, error) {
	h, err := newSpace()
	if err != nil {
		return nil, err
	}
	if err := h.attach(wire, addrs); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func newSpace() (*Host, error) {
	h := &Host{}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: a network namespace: %w", err)
		}
		var err error
		h.space, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := h.Run("ip", "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (h *Host) attach(wire *Switch, addrs []netip.Prefix) error {
	var device *os.File
	err := h.do(func() (err error) {
		device, err = openTUN(Device)
		return err
	})
	if err != nil {
		return err
	}
	h.wire, h.port = wire, newPort(wire, device)
	if err := h.Run("ip", "link", "set", Device, "up"); err != nil {
		return err
	}
	for _, a := range addrs {
		if err := h.AddAddr(a); err != nil {
			return err
		}
	}
	return nil
}

// AddAddr gives the host one more address.
func (h *Host) AddAddr(a netip.Prefix) error {
	args := []string{"ip", "addr", "add", a.String(), "dev", Device}
	if a.Addr().Is6() {
		args = append(args, "nodad") // there is nobody to ask on a point-to-point device
	}
	h.wire.own(a.Addr(), h.port)
	return h.Run(args...)
}

// RemoveAddr takes an address away.
func (h *Host) RemoveAddr(a netip.Prefix) error {
	h.wire.disown(a.Addr())
	return h.Run("ip", "addr", "del", a.String(), "dev", Device)
}

// Prefix is the command that starts another in the host, by exec: for testnet.Spec. It works in this process's own PID
// namespace while the host is not closed.
func (h *Host) Prefix() []string {
	return []string{"nsenter", "--net=" + h.path(), "--"}
}

// path is the file of the namespace, for other processes.
func (h *Host) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.space.Fd()) }

// Run runs a command in the host to its end.
func (h *Host) Run(argv ...string) error {
	full := append(h.Prefix(), argv...)
	if out, err := exec.Command(full[0], full[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("netns: %s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Close unplugs the host. Its namespace vanishes with the last process in it.
func (h *Host) Close() error {
	var err error
	if h.port != nil {
		err = h.port.close()
	}
	return errors.Join(err, h.space.Close())
}

// do calls f on a thread that is in the host.
func (h *Host) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(h.space.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netns: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread of its own, which ends with it: what f does to the thread touches nobody else.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// openTUN makes a TUN device in the namespace of the calling thread.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("netns: /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true) // only now: before that the device cannot be polled
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netns: %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
