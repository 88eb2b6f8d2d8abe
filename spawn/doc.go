// Package spawn builds and runs instances of cells on this machine.
//
// The *ribosome* builds: it takes the pinned commit of a cell's repository, builds it in a sandbox without a network and
// keeps the binary in a [Cache] under the hash of its content. The *capsid* runs: it starts such a binary in a sandbox,
// waits until it serves, keeps it running, and takes it down with everything it has started. Both words are the
// project's own; the rest of this package speaks the field's.
//
// What a cell may see and use is decided by package sandbox; without any layer of one both refuse, unless the
// consumer's policy says sandbox = "none".
package spawn
