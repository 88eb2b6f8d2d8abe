package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// oldRoot is where the machine's files are until everything in sight is mounted.
const oldRoot = "/.old"

// view makes the file system that the program sees, and leaves the machine's own behind: a root of its own that cannot
// be written, and in it what the order names. It runs in a mount namespace of its own.
func view(o *order) error {
	if err := newRoot(); err != nil {
		return err
	}
	for _, b := range o.Binds {
		if err := b.mount(); err != nil {
			return err
		}
	}
	if err := scratch(o); err != nil {
		return err
	}
	if err := system(); err != nil {
		return err
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's files: %w", err)
	}
	if err := os.Remove(oldRoot); err != nil {
		return err
	}
	return attributes("/", unix.MOUNT_ATTR_RDONLY, false)
}

// newRoot puts a small file system in memory in place of the root, with the old one at oldRoot. It is put up at /tmp,
// which every system has; what lies there is seen again at oldRoot/tmp.
func newRoot() error {
	const at = "/tmp"
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("cell", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m,nr_inodes=4096"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	if err := os.Mkdir(at+oldRoot, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(at, at+oldRoot); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	return unix.Chdir("/")
}

// mount shows one file or folder.
func (b bind) mount() error {
	from := oldRoot + b.From
	info, err := os.Stat(from)
	if errors.Is(err, fs.ErrNotExist) && !b.Write {
		return nil
	}
	if err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), oldRoot, ""))
	}
	if err := place(b.To, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(from, b.To, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s: %w", b.To, err)
	}
	set := uint64(unix.MOUNT_ATTR_NOSUID)
	if !b.Device {
		set |= unix.MOUNT_ATTR_NODEV
	}
	if !b.Write {
		set |= unix.MOUNT_ATTR_RDONLY
	}
	return attributes(b.To, set, true)
}

// place makes the empty file or folder that something is mounted on. The folders on the way to it may be passed by all.
func place(path string, folder bool) error {
	if info, err := os.Lstat(path); err == nil && info.IsDir() == folder {
		return nil // inside a folder that is shown already
	}
	dir := path
	if !folder {
		dir = filepath.Dir(path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if folder {
		return nil
	}
	return os.WriteFile(path, nil, 0o444)
}

// attributes sets attributes of a mount, and of those below it. Setting takes away nothing that is locked, as a remount
// by flags would.
func attributes(path string, set uint64, below bool) error {
	var flags uint
	if below {
		flags = unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(-1, path, flags, &unix.MountAttr{Attr_set: set}); err != nil {
		return fmt.Errorf("mount_setattr %s: %w", path, err)
	}
	return nil
}

// layersDir is where the upper halves of Layered folders lie: beside the scratch folder, in the same file system, so
// that one limit holds for all.
const layersDir = "/.layers"

// scratch puts up the one file system that may be written: the scratch folder, and what is laid over Layered.
func scratch(o *order) error {
	if o.Box.Scratch == "" && len(o.Box.Layered) == 0 {
		return nil
	}
	if err := os.MkdirAll(layersDir, 0o700); err != nil {
		return err
	}
	// A file costs about a KiB of memory even when it is empty.
	options := fmt.Sprintf("mode=0755,size=%d,nr_inodes=%d", o.Box.Limits.Disk, max(4096, o.Box.Limits.Disk>>12))
	if err := unix.Mount("cell", layersDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	for i, path := range o.Box.Layered {
		if err := layer(o, path, fmt.Sprintf("%s/%d", layersDir, i)); err != nil {
			return err
		}
	}
	if o.Box.Scratch != "" {
		if err := show(o, layersDir+"/scratch", o.Box.Scratch); err != nil {
			return err
		}
	}
	return unix.Unmount(layersDir, unix.MNT_DETACH) // the folders in use stay
}

// layer lays a folder that may be written over path.
func layer(o *order, path, at string) error {
	for _, dir := range []string{at + "/upper", at + "/work"} {
		if err := own(o, dir); err != nil {
			return err
		}
	}
	if err := place(path, true); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", oldRoot+path, at, at)
	if o.Walls == WallsUser {
		options += ",userxattr"
	}
	if err := unix.Mount("cell", path, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("overlay on %s: %w", path, err)
	}
	return nil
}

// show mounts the new folder dir, which belongs to the program, at path, and lets the usual place lead there unless
// something else lies in it.
func show(o *order, dir, path string) error {
	if err := own(o, dir); err != nil {
		return err
	}
	if err := place(path, true); err != nil {
		return err
	}
	if err := unix.Mount(dir, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	if err := os.Symlink(path, "/tmp"); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// own makes a folder that belongs to the program.
func own(o *order, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if o.User >= 0 {
		return os.Chown(dir, o.User, o.User)
	}
	return nil
}

// system mounts what belongs to a system: devices, and the processes of the box. A container may hide the latter, and
// most programs do without.
func system() error {
	for _, d := range devices {
		if err := (bind{From: d, To: d, Write: true, Device: true}).mount(); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "/proc/self/fd/0", "/dev/stdout": "/proc/self/fd/1",
		"/dev/stderr": "/proc/self/fd/2", "/dev/shm": "/tmp",
	} {
		if err := os.Symlink(to, link); err != nil {
			return err
		}
	}
	if err := os.Mkdir("/proc", 0o555); err != nil {
		return err
	}
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}
