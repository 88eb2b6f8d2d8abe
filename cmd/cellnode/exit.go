package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cellnode/cellnode/client"
	"github.com/cellnode/cellnode/internal/build"
	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/link"
	"github.com/cellnode/cellnode/internal/source"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay/sidecar"
	"github.com/cellnode/cellnode/spawn"
)

// The exit codes; they are part of the command's contract.
const (
	exitDone        = 0
	exitNone        = 1 // no live instance, the one that run was to keep alive included
	exitUsage       = 2 // bad usage or bad input
	exitRefused     = 3 // by policy
	exitUnreachable = 4 // network or git
	exitMismatch    = 5 // another interface than wanted
)

// errSilent ends a command with exitNone after it has said everything itself.
var errSilent = errors.New("nothing more to say")

// codeError gives an error its exit code.
type codeError struct {
	code int
	err  error
}

func (e *codeError) Error() string { return e.err.Error() }
func (e *codeError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &codeError{exitUsage, fmt.Errorf(format, args...)}
}

func unreachable(format string, args ...any) error {
	return &codeError{exitUnreachable, fmt.Errorf(format, args...)}
}

// exitCode returns what the process ends with. An error that nothing is known of is bad input.
func exitCode(err error) int {
	var (
		coded  *codeError
		api    *daemon.Error
		none   *find.NoneError
		open   *client.OpenError
		grant  *sidecar.GrantError
		remote *source.UnreachableError
		denied *source.RefusedError
		ended  *sidecar.ExitError
		far    *manifest.TooFarError
		start  *build.SpawnError
		differ *build.MismatchError
		moved  *source.MovedError
		stale  *build.StaleError
		live   *build.LiveError
		other  *sidecar.InterfaceError
		barred *spawn.ForbiddenPathError
		mute   *spawn.NotReadyError
		failed *spawn.FailedError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &api):
		return api.Code
	case errors.As(err, &open), errors.As(err, &grant), errors.As(err, &far), errors.As(err, &start),
		errors.As(err, &barred), errors.Is(err, spawn.ErrNoSandbox):
		return exitRefused
	case errors.As(err, &differ), errors.As(err, &moved), errors.As(err, &stale), errors.As(err, &live), errors.As(err, &other):
		return exitMismatch
	case errors.As(err, &none):
		return noneCode(none)
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &ended), errors.Is(err, sidecar.ErrNotReady), errors.As(err, &mute), errors.As(err, &failed):
		return exitNone
	case errors.As(err, &remote), errors.As(err, &denied):
		return exitUnreachable
	}
	return exitUsage
}

// oneLine is an error as it is printed.
func oneLine(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "; ")
}

// noneCode tells apart why nothing was found: instances are there with another interface, nobody could be asked, or
// none lives.
func noneCode(e *find.NoneError) int {
	mismatch := func(r find.Refusal) bool {
		var refused *link.Refused
		return errors.As(r.Err, &refused) && (refused.Code == link.CodeFingerprint || refused.Code == link.CodeCommit)
	}
	switch {
	case slices.ContainsFunc(e.Refusals, mismatch):
		return exitMismatch
	case len(e.Refusals) == 0 && unasked(e.Ways):
		return exitUnreachable
	}
	return exitNone
}

// unasked reports whether git did not answer, and nobody else beyond this network did.
func unasked(ways []find.WayReport) bool {
	git := false
	for _, w := range ways {
		var remote *source.UnreachableError
		switch {
		case errors.As(w.Err, &remote):
			git = true
		case w.Way == find.Local, w.Way == find.Cache, w.Way == find.MDNS:
		case w.Done && w.Err == nil:
			return false
		}
	}
	return git
}
