// Package netns lays out small networks of Linux network namespaces on one machine: hosts with addresses, routers with
// NAT, and a wire between them that delays, loses and cuts. Real processes run in them (testnet.Spec.Prefix).
//
// The wire is a Switch in this process: every host is attached to it by a TUN device, and each IP packet passes through
// Go code that decides what becomes of it. So delay and loss do not depend on what a kernel was built with (netem is
// missing in many), need no privilege beyond a user namespace, and change between two packets. NAT is the kernel's own,
// by nftables.
//
// Enter puts the calling program into namespaces of its own first, as an ordinary user can. All that runs there is
// killed by the kernel when the program ends, however it ends, and the namespaces vanish with it.
package netns
