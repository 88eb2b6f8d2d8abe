package client

import (
	"context"
	"errors"
	"io"
	"net/http"
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
	out := p.r.WithContext(p.r.Context())
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

// repeatable says whether the request may be sent once more after an error: it never left, or it is idempotent.
func (p *replay) repeatable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	var notSent *notSentError
	if errors.As(err, &notSent) && (p.body == nil || !p.body.read.Load()) {
		return true
	}
	return p.replays
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
	once         sync.Once
}

// Read reads.
func (b *lentBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.ReadCloser.Read(p)
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
