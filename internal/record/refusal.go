package record

import (
	"fmt"
	"slices"
)

// Code names why a record was refused. Codes are stable: people and programs may rely on them.
type Code string

// The codes of a Refusal, in the order of the checks.
const (
	CodeSize     Code = "E_SIZE"     // larger than MaxSize
	CodeEnvelope Code = "E_ENVELOPE" // not a signed envelope
	CodeType     Code = "E_TYPE"     // another kind of record
	CodeKeyType  Code = "E_KEYTYPE"  // not signed with Ed25519
	CodePayload  Code = "E_PAYLOAD"  // a field is missing or malformed
	CodeCell     Code = "E_CELL"     // a record of another cell
	CodeSigner   Code = "E_SIGNER"   // signed by a peer other than the one named
	CodeExpired  Code = "E_EXPIRED"  // no longer valid
	CodeFuture   Code = "E_FUTURE"   // made by a clock that is too far ahead, or valid for too long
	CodeAddr     Code = "E_ADDR"     // names addresses that cannot be dialled
	CodeSig      Code = "E_SIG"      // the signature is wrong

	CodeGrant  Code = "E_GRANT"  // the cell names publishers, and there is no grant, or none that can be read
	CodeChain  Code = "E_CHAIN"  // a chain of grants that is too long, or wider than its beginning
	CodePeer   Code = "E_PEER"   // the grant is for another peer
	CodeCommit Code = "E_COMMIT" // the grant is for another commit
	CodeNotYet Code = "E_NOTYET" // the grant is not valid yet
	CodeCaps   Code = "E_CAPS"   // the grant does not allow this
	CodeIssuer Code = "E_ISSUER" // the grant is not signed by a publisher of the cell

	CodeRevoked   Code = "E_REVOKED"   // the publishers have taken the grant back, or all of its peer's
	CodeTrust     Code = "E_TRUST"     // a trust document that cannot be read, or that has ended
	CodeThreshold Code = "E_THRESHOLD" // a trust document that too few publishers have signed
	CodeReplay    Code = "E_REPLAY"    // a trust document older than one taken before, or in its place
)

// OfGrant reports whether the code is about a grant and not about the record that carries it.
func (c Code) OfGrant() bool {
	return slices.Contains([]Code{CodeGrant, CodeChain, CodePeer, CodeCommit, CodeNotYet, CodeCaps, CodeIssuer, CodeRevoked, CodeTrust}, c)
}

// Refusal says why a record was not taken.
type Refusal struct {
	Code   Code
	Detail string
}

// Error returns the code and what was found.
func (r *Refusal) Error() string { return fmt.Sprintf("record: %s: %s", r.Code, r.Detail) }

func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}
