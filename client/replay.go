package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
)

// replay sends one request more than once where that is allowed. An http.Transport closes the body of a request that it
// could not send; so that the next instance can have it, it is given a body whose Close does nothing, as long as nobody has
// read from it.
type replay struct {
	r       *http.Request
	body    *lentBody // of the last attempt; nil without a body
	asked   bool      // the last attempt got as far as to ask for a connection
	replays bool      // the request is idempotent, and its body can be had again
}

func newReplay(r *http.Request) *replay {
	p := &replay{r: r}
	if r.Body != nil && r.Body != http.NoBody {
		p.body = &lentBody{ReadCloser: r.Body}
	}
	p.replays = idempotent(r) && (p.body == nil || r.GetBody != nil)
	return p
}

// idempotent is net/http's rule.
func idempotent(r *http.Request) bool {
	switch r.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	_, key := r.Header["Idempotency-Key"]
	_, xkey := r.Header["X-Idempotency-Key"]
	return key || xkey
}

// request returns the request for the next attempt, which goes to this URL.
func (p *replay) request(to *url.URL) (*http.Request, error) {
	p.asked = false
	trace := &httptrace.ClientTrace{GetConn: func(string) { p.asked = true }}
	out := p.r.WithContext(httptrace.WithClientTrace(p.r.Context(), trace))
	out.URL = to
	if out.Host == "" {
		out.Host = p.r.URL.Host
	}
	if p.body == nil {
		return out, nil
	}
	if p.body.read.Load() {
		again, err := p.r.GetBody()
		if err != nil {
			return nil, err
		}
		p.done()
		p.body = &lentBody{ReadCloser: again}
	}
	out.Body = p.body
	return out, nil
}

// faulty says whether the last attempt failed by the request itself, wherever it goes: it is malformed, or its body broke off.
func (p *replay) faulty() bool { return !p.asked || p.body != nil && p.body.broken() }

// repeatable says whether the request may be sent once more after an error: it never left, or it is idempotent.
func (p *replay) repeatable(err error) bool {
	if p.faulty() {
		return false
	}
	var notSent *notSentError
	if errors.As(err, &notSent) { // which may hold a Canceled that is not the caller's: of a dial that took us too long
		return p.replays || p.body == nil || !p.body.read.Load()
	}
	return p.replays && !errors.Is(err, context.Canceled)
}

// done closes the body unless whoever sends it will.
func (p *replay) done() {
	if p.body != nil {
		p.body.giveBack()
	}
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

// lentBody is closed only when it has been read from, or when it is given back.
type lentBody struct {
	io.ReadCloser
	read atomic.Bool

	mu           sync.Mutex
	closed, back bool
	failed       bool // an error other than its end came of it before it was closed
	once         sync.Once
}

// Read reads.
func (b *lentBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.mu.Lock()
		b.failed = b.failed || !b.closed
		b.mu.Unlock()
	}
	return n, err
}

func (b *lentBody) broken() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// Close closes the body if anything has come of it.
func (b *lentBody) Close() error {
	b.mu.Lock()
	b.closed = true
	wanted := b.back || b.read.Load()
	b.mu.Unlock()
	if wanted {
		return b.close()
	}
	return nil
}

// giveBack ends the loan: a Close from now on, or one that was put off, is one.
func (b *lentBody) giveBack() {
	b.mu.Lock()
	b.back = true
	wanted := b.closed
	b.mu.Unlock()
	if wanted {
		_ = b.close() // as an http.Transport does with what it does not send
	}
}

func (b *lentBody) close() (err error) {
	b.once.Do(func() { err = b.ReadCloser.Close() })
	return err
}
