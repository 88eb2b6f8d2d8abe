package spawn

import (
	"fmt"
	"os"
	"sync"
)

// Logs of a service: NAME.log, and the older NAME.log.1 and NAME.log.2.
const (
	logSize = 10 << 20 // bytes of each
	logKept = 3        // files
)

// logFile is a writer that begins a new file when one is full. Its Write never fails: a full disk must not stop the
// service whose output it is.
type logFile struct {
	path string
	max  int64

	mu   sync.Mutex
	file *os.File // nil: it could not be opened
	size int64
}

func openLog(path string, max int64) (*logFile, error) {
	l := &logFile{path: path, max: max}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("spawn: %w", err)
	}
	return l, nil
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	l.file, l.size = file, info.Size()
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil && l.size > 0 && l.size+int64(len(p)) > l.max {
		l.file.Close()
		l.file = nil
		for n := logKept - 1; n > 0; n-- {
			_ = os.Rename(older(l.path, n-1), older(l.path, n))
		}
	}
	if l.file == nil && l.open() != nil {
		return len(p), nil
	}
	n, _ := l.file.Write(p)
	l.size += int64(n)
	return len(p), nil
}

// older is the n-th older file of a log.
func older(path string, n int) string {
	if n == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, n)
}

// Close may be called more than once.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// LogFiles are the files of a service's log, the oldest first; those that are not there are left out.
func LogFiles(path string) []string {
	var list []string
	for n := logKept - 1; n >= 0; n-- {
		if _, err := os.Stat(older(path, n)); err == nil {
			list = append(list, older(path, n))
		}
	}
	return list
}
