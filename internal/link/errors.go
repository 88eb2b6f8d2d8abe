package link

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

var (
	// ErrWrongPeer: another peer than the wanted one answered at an address.
	ErrWrongPeer = errors.New("link: wrong peer")
	// ErrPreface: the other end was connected and then did not send its Hello or Welcome in time.
	ErrPreface = errors.New("link: no Hello or Welcome in time")
	// ErrSilent: a watched instance gave no sign of life for four seconds.
	ErrSilent = errors.New("link: instance fell silent")
	// ErrFrame: a frame is larger than its limit or is not what it should be.
	ErrFrame = errors.New("link: malformed frame")
	// ErrBudget: too many unproved dials went to this destination or its network lately.
	ErrBudget = errors.New("link: dial budget of the destination is used up; try later")
	// ErrNotDialable: an address is of a form or in a range that is never dialled. See Dialable.
	ErrNotDialable = errors.New("link: address is not dialled")
	// ErrNoNode: only a libp2p node can open a path to the peer, and there is none here.
	ErrNoNode = errors.New("link: the peer is behind a NAT, and no node runs here that could open a path to it: start one with cellnode daemon start, or import overlay/embed")
	// ErrClosed: the Dialer or Server is closed.
	ErrClosed = errors.New("link: closed")
)

// Refused says that the wanted instance answered and does not serve the call.
type Refused struct {
	Code    Code
	Detail  string
	Welcome Welcome
	Hello   Hello // what was asked
}

// Error returns the code, both values of a mismatch, and the instance's own words.
func (r *Refused) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link: refused: %s", r.Code)
	switch r.Code {
	case CodeCommit:
		fmt.Fprintf(&b, ": want %s, runs %s", orNone(r.Hello.Commit), orNone(r.Welcome.Commit))
	case CodeFingerprint:
		fmt.Fprintf(&b, ": want %s, runs %s", orNone(r.Hello.Fingerprint), orNone(r.Welcome.Fingerprint))
	}
	if r.Detail != "" {
		fmt.Fprintf(&b, ": %s", r.Detail)
	}
	return b.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// An Attempt is what became of one address.
type Attempt struct {
	Addr  ma.Multiaddr
	Path  string        // TCP, QUIC, LIBP2P or empty
	After time.Duration // from the start of the call to the failure
	Err   error
}

// UnreachableError says that no address of a peer brought an answer. errors.Is and errors.As look into every
// attempt, so errors.Is(err, ErrWrongPeer) tells that somebody else answered.
type UnreachableError struct {
	Peer     peer.ID
	Attempts []Attempt
	Err      error // the context's, where it ended the call
}

// Error lists every address.
func (e *UnreachableError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "link: %s does not answer", e.Peer)
	if len(e.Attempts) == 0 {
		b.WriteString(": no address is known")
	}
	for i, a := range e.Attempts {
		b.WriteString([]string{"; ", ": "}[max(0, 1-i)])
		fmt.Fprintf(&b, "%s: %v after %s", a.Addr, a.Err, a.After.Round(time.Millisecond))
	}
	return b.String()
}

// Unwrap returns the errors of the attempts, and the context's.
func (e *UnreachableError) Unwrap() []error {
	var errs []error
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	for _, a := range e.Attempts {
		errs = append(errs, a.Err)
	}
	return errs
}

// abortError says that a stream ended without the other end having closed it. It hides its cause from errors.Is:
// quic-go's errors claim to be net.ErrClosed, which callers take for their own Close.
type abortError struct{ cause error }

func (e *abortError) Error() string   { return "link: connection aborted: " + e.cause.Error() }
func (e *abortError) Is(t error) bool { return t == io.ErrUnexpectedEOF }
