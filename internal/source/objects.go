package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"

	"github.com/cellnode/cellnode/manifest"
)

// maxTree bounds one folder's object, in bytes: about 200,000 names.
const maxTree = 8 << 20

// objects reads the object store of a cached repository through one git process.
type objects struct {
	commit string // at which the fetched ref is, peeled
	in     io.Writer
	out    *bufio.Reader
	root   string // the commit's tree
	trees  map[string]map[string]entry
	fetch  func(wanted []string) error // brings objects in together; nil: all are there
}

// entry is one name in a folder.
type entry struct {
	mode   string // as git writes it: 100644, 100755, 40000, 120000 (a link), 160000 (a submodule)
	object string
}

// session starts the process, finds the commit that ref is at, and ends with fn.
func (s *Source) session(ctx context.Context, url, dir, ref string, fn func(*objects) error) error {
	bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	cmd, words := s.command(bounded, url, dir, "cat-file", "--batch")
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return fmt.Errorf("source: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return s.failure(ctx, bounded, url, "cat-file", words, err)
	}
	o := &objects{in: in, out: bufio.NewReader(out), trees: map[string]map[string]entry{}}
	err := o.start(ref)
	if err == nil {
		err = fn(o)
	}
	in.Close()
	if err != nil {
		cancel()
	}
	return s.ended(ctx, bounded, url, words, err, cmd)
}

// ended tells an error of git, which then ended by itself, from one of the content, for which we ended git.
func (s *Source) ended(ctx, bounded context.Context, url string, words *tail, err error, cmd *exec.Cmd) error {
	waitErr := cmd.Wait()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBroken):
		if waitErr == nil {
			waitErr = err
		}
		if ctx.Err() == nil && errors.Is(bounded.Err(), context.Canceled) {
			bounded = ctx // it was our own cancel, after git had gone
		}
		return s.failure(ctx, bounded, url, "cat-file", words, waitErr)
	}
	return err
}

// errBroken says that git stopped answering.
var errBroken = errors.New("ended too early")

// get is one object by name. What is not there is fs.ErrNotExist.
func (o *objects) get(name, kind string, limit int64) (object string, data []byte, err error) {
	if _, err := io.WriteString(o.in, name+"\n"); err != nil {
		return "", nil, errBroken
	}
	header, err := o.out.ReadString('\n')
	if err != nil {
		return "", nil, errBroken
	}
	fields := strings.Fields(header)
	if len(fields) != 3 {
		return "", nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil || !isObject(fields[0]) {
		return "", nil, errBroken
	}
	if fields[1] != kind {
		return "", nil, fmt.Errorf("is a %s where a %s is expected", fields[1], kind)
	}
	if size > limit {
		return "", nil, fmt.Errorf("is %d bytes; at most %d are read", size, limit)
	}
	data = make([]byte, size+1) // and the newline behind it
	if _, err := io.ReadFull(o.out, data); err != nil {
		return "", nil, errBroken
	}
	return fields[0], data[:size], nil
}

// start finds commit and tree of the ref that was fetched.
func (o *objects) start(ref string) error {
	commit, _, err := o.get(ref+"^{commit}", "commit", 1<<20)
	if errors.Is(err, fs.ErrNotExist) {
		return &contentFault{errors.New("it names no commit")}
	}
	if err != nil {
		return fault(err)
	}
	o.commit = commit
	o.root, _, err = o.part(commit+"^{tree}", "tree", maxTree)
	return fault(err)
}

// file is the content of one file. A path that is not there is fs.ErrNotExist; a link, a folder or a submodule on the way
// or at its end is a fault.
func (o *objects) file(path string, limit int64) ([]byte, error) {
	if err := manifest.CheckPath(path); err != nil {
		return nil, &contentFault{err}
	}
	tree, parts := o.root, strings.Split(path, "/")
	for i, part := range parts {
		names, err := o.tree(tree)
		if err != nil {
			return nil, err
		}
		e, ok := names[part]
		at := strings.Join(parts[:i+1], "/")
		last := i == len(parts)-1
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		case e.mode == "120000":
			return nil, &contentFault{fmt.Errorf("%s is a symbolic link; a cell's files must be files: commit the file itself", at)}
		case e.mode == "160000":
			return nil, &contentFault{fmt.Errorf("%s is a submodule; a cell's files must lie in its own repository", at)}
		case last && e.mode == "40000":
			return nil, &contentFault{fmt.Errorf("%s is a folder where a file is expected", at)}
		case !last && e.mode != "40000":
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		tree = e.object
	}
	_, data, err := o.part(tree, "blob", limit)
	if err != nil && !errors.Is(err, errBroken) {
		return nil, &contentFault{fmt.Errorf("%s %w", path, err)}
	}
	return data, err
}

// part is get for an object that another one names: if it is not there, the fetch was not whole.
func (o *objects) part(name, kind string, limit int64) (string, []byte, error) {
	object, data, err := o.get(name, kind, limit)
	if errors.Is(err, fs.ErrNotExist) {
		err = errBroken
	}
	return object, data, err
}

// contentFault marks what no second attempt would change.
type contentFault struct{ err error }

func (e *contentFault) Error() string { return e.err.Error() }
func (e *contentFault) Unwrap() error { return e.err }

// fault marks err as one of the content, unless git has broken off.
func fault(err error) error {
	if err == nil || errors.Is(err, errBroken) {
		return err
	}
	return &contentFault{err}
}
