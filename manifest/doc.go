// Package manifest names and checks what a cell publishes.
//
// A cell is a service that lives in a git repository, at a tag. This package knows its name on the network (repository
// and tag to CID), the files that describe it (Cell.toml, Cell.json, instances.json, Cell.lock), the fingerprint of its
// interface, and the one rule that says whether to use it here, there, or not at all ([Decide]).
//
// Every function is pure: no network, goroutine of its own, clock or home directory. The single exception is
// [WriteFile] with its kin, the one way in which this project puts a file on disk. Decoders are strict: an unknown key, a value of
// the wrong kind, a list or a file above its limit is a *[FileError] that says where, what, and what to do; sizes are
// checked before memory is taken.
package manifest
