package sidecar

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

const (
	maxTail  = 4 << 10 // bytes kept
	maxWords = 10      // lines shown
)

// tail is a writer that keeps the last 4 KiB, from the first line that is whole.
type tail struct {
	mu   sync.Mutex
	kept []byte
	cut  bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p[max(0, len(p)-maxTail):]...)
	if over := len(t.kept) - maxTail; over > 0 || len(p) > maxTail {
		t.kept = append(t.kept[:0], t.kept[max(0, over):]...)
		t.cut = true
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	kept := t.kept
	if t.cut {
		if _, whole, found := bytes.Cut(kept, []byte("\n")); found {
			kept = whole
		}
	}
	return string(kept)
}

// lastWords renders the last lines of text as the end of an error, or nothing.
func lastWords(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	return fmt.Sprintf("; last it wrote: %q", strings.Join(lines[max(0, len(lines)-maxWords):], "\n"))
}

// calm is a writer that never fails: a full disk or a closed pipe behind a log must not stop the service. mu lets two
// of them share w.
type calm struct {
	w  io.Writer
	mu *sync.Mutex
}

func (c calm) Write(p []byte) (int, error) {
	if c.w != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, _ = c.w.Write(p)
	}
	return len(p), nil
}
