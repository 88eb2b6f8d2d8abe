// Package sandbox runs a program that is not trusted, shut in by what the kernel offers.
//
// A [Box] says what the program may see and use; everything else is out of its sight. [Start] takes every layer that
// holds on this machine, [Probe] says which those are, found by trying:
//
//	layer        keeps from the program                                      where it is missing
//	namespaces   files, processes and (network none) the network around it  Landlock alone holds the files
//	landlock     files; TCP; signals and abstract sockets of others          namespaces alone hold them
//	seccomp      sockets other than allowed, mount, ptrace, keyctl, bpf …    no way in, unless namespaces hold
//	cgroup       memory, processors, processes beyond the limits             rlimits, and a watch over memory
//	privileges   every capability, set-user-ID programs; as root also root   always there
//
// Namespaces are our own, or bubblewrap's where the system lets only that one have them. If neither namespaces nor
// Landlock hold, Start refuses with ErrNoLayers, unless the Box is Open.
//
// Paths are the same inside and outside. The program's parent is an init of ours (the same executable, started anew; see
// [Init]): it puts up the walls, collects orphans, and ends with everything in the box when the owner closes its end
// of a pipe, which the kernel does for an owner that was killed.
//
// What the filter of calls refuses is told to the owner (see [Box.Denied]): the kernel asks the init about such a call, and
// the init answers for it.
//
// Linux alone has these layers, and the way to end everything with the owner. Elsewhere Start refuses every box.
package sandbox
