// Package lint holds the rules that this repository keeps about itself, and the tests that enforce them: which room may
// import which, what a client may drag in, where time may pass, what things may be called.
//
// Each rule is a function from a Tree (or from what the go command says) to findings, so that its self-test can hand it a
// bad tree and see it complain. Where a rule must be broken, the line or the line above it says so with a reason:
//
//	//allow:sleep flock has no way to wait with a limit
package lint
