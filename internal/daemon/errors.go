package daemon

import (
	"encoding/json"
	"errors"
	"net/http"
)

// The exit codes of the command line that the API itself gives.
const (
	codeUsage       = 2 // bad usage or bad input
	codeUnreachable = 4 // network or git
)

// Error is an error that crosses the API.
type Error struct {
	Message string `json:"error"`
	Code    int    `json:"code"` // the exit code of the command line
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// writeError answers with an error. One that is no *Error is the node's own and not the asker's fault.
func writeError(w http.ResponseWriter, err error) {
	if e, ok := errors.AsType[*Error](err); ok {
		writeStatus(w, http.StatusBadRequest, e)
		return
	}
	writeStatus(w, http.StatusInternalServerError, asError(err))
}

func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Message: err.Error(), Code: codeUnreachable}
}

func writeStatus(w http.ResponseWriter, status int, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(e) // nobody is left to tell
}
