package link

import "errors"

// The stable codes of what keeps a call from an instance, beside those of records; docs/errors.md explains them.
const (
	ErrCodeUnreachable = "E_UNREACHABLE" // no address of it brings an answer
	ErrCodeBusy        = "E_BUSY"        // it is at one of its limits
	ErrCodeUpstream    = "E_UPSTREAM"    // its service does not answer
	ErrCodeDraining    = "E_DRAINING"    // it takes no new calls
)

// ErrorCode returns the stable code of an error of a Dialer, or an empty string.
func ErrorCode(err error) string {
	if r, ok := errors.AsType[*Refused](err); ok {
		return map[Code]string{CodeBusy: ErrCodeBusy, CodeUpstream: ErrCodeUpstream, CodeDraining: ErrCodeDraining}[r.Code]
	}
	if _, ok := errors.AsType[*UnreachableError](err); ok {
		return ErrCodeUnreachable
	}
	return ""
}
