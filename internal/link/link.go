// Package link is cell/1, the one protocol between a client and an instance of a cell.
//
// # Transport
//
// TLS 1.3 with the libp2p certificate on both ends, so that each knows the other's peer ID, and ALPN cell/1; over
// QUIC, on the UDP port that libp2p uses as well, and over TCP. Where neither gets through, because both ends are behind
// NATs, a libp2p node on each side opens a direct path, with a relay as the one that introduces them, and TLS runs on one
// stream of it as it does on a TCP connection: whose node that is makes no difference to who speaks with whom, and a stream
// that breaks is told from one that ends. A client names the peer that it wants and refuses any other. Only Ed25519 peers are taken. Specification of the certificate: libp2p specs, tls/tls.md.
//
// # Frames
//
// A stream (a TCP connection is one stream, and so is TLS on one of libp2p) starts with a Hello from the client and a Welcome from the instance.
// Each is a protobuf message (linkpb/link.proto) behind its length as an unsigned varint in its shortest form;
// unknown fields are ignored. A Hello or a Welcome has at most 4 KiB, a List or a Part at most 256 KiB; a length above that
// ends the stream before anything is allocated. The Hello says what the stream is for:
//
//	Probing   nothing follows the Welcome; another Hello may come on the same stream
//	Listing   one List follows, in as many frames as it takes; another Hello may come
//	Watching  Lists follow until the stream ends, an empty one each second as a sign of life
//	Opening   raw bytes follow in both directions; the client may send them right behind the Hello
//	Trusting  the client sends a List with a trust document alone, and a second Welcome says whether it was taken
//	Asking    the instance's interface follows, in Parts, 2 MiB at most; another Hello may come
//
// So a connection that was probed becomes the data connection without a second handshake. Any Welcome other than
// CodeOK to Watching or Opening ends the stream.
//
// # Another interface
//
// A Hello names the commit and the interface that the client was made for, and an instance of another one refuses it: it
// does not know what the client calls, so it does not judge. The Welcome that refuses says what runs there. A client that
// was made for an interface may then ask for the one that is offered, hold it to the fingerprint of the Welcome's signed
// record, which is a hash of all that calls depend on, and compare (package find). If nothing is missing it says Hello
// again, naming what is offered. An instance that lies about its interface gains what one gains that lies about its
// fingerprint: calls that it does not understand.
//
// # Ends
//
// Each direction of an open stream ends by itself, with CloseWrite. A reader sees io.EOF only where the other end
// has closed it: a close_notify alert on TCP, a FIN on QUIC. A peer that dies, a connection that breaks and a Reset
// are errors for which errors.Is(err, io.ErrUnexpectedEOF) holds. (crypto/tls alone takes a bare TCP FIN for a
// clean end.) On QUIC a Close right behind the last Write can overtake a reader that is slow; who must know that
// all was read waits for the other end's io.EOF first, as with any protocol.
package link

import (
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/cellnode/cellnode/internal/link/linkpb"
	"github.com/cellnode/cellnode/internal/record"
)

// ALPN is the protocol's name in the TLS handshake.
const ALPN = "cell/1"

// Protocol is the libp2p protocol on whose streams cell/1 is spoken; see Server.ServeNode.
const Protocol = "/cell/1"

// The names of the transports, as Conn.Path returns them.
const (
	TCP    = "tcp"
	QUIC   = "quic"
	LIBP2P = "libp2p" // a stream of a libp2p node, on a connection that no relay carries
)

// Op is what a client asks for.
type Op uint8

// The operations of a Hello.
const (
	Opening  = Op(linkpb.Op_OP_OPEN)
	Listing  = Op(linkpb.Op_OP_LIST)
	Watching = Op(linkpb.Op_OP_WATCH)
	Probing  = Op(linkpb.Op_OP_PROBE)
	Trusting = Op(linkpb.Op_OP_TRUST)
	Asking   = Op(linkpb.Op_OP_INTERFACE)
)

// String returns open, list, watch, probe, trust or interface.
func (o Op) String() string {
	switch o {
	case Opening:
		return "open"
	case Listing:
		return "list"
	case Watching:
		return "watch"
	case Probing:
		return "probe"
	case Trusting:
		return "trust"
	case Asking:
		return "interface"
	}
	return "unknown"
}

// Code is an instance's answer to a Hello. The zero Code is no answer, and refused like CodeBad.
type Code uint8

// The codes of a Welcome.
const (
	CodeOK          = Code(linkpb.Code_CODE_OK)
	CodeCell        = Code(linkpb.Code_CODE_CELL)        // the cell is not served here
	CodeFingerprint = Code(linkpb.Code_CODE_FINGERPRINT) // another interface than the wanted one
	CodeCommit      = Code(linkpb.Code_CODE_COMMIT)      // another commit than the wanted one
	CodeDraining    = Code(linkpb.Code_CODE_DRAINING)    // takes no new calls
	CodeUpstream    = Code(linkpb.Code_CODE_UPSTREAM)    // the service itself does not answer
	CodeBusy        = Code(linkpb.Code_CODE_BUSY)        // at one of its limits
	CodeBad         = Code(linkpb.Code_CODE_BAD)         // the Hello was not understood
)

// String returns the code's stable name: ok, cell, fingerprint, commit, draining, upstream, busy or bad.
func (c Code) String() string {
	names := [...]string{"none", "ok", "cell", "fingerprint", "commit", "draining", "upstream", "busy", "bad"}
	if int(c) < len(names) {
		return names[c]
	}
	return "unknown"
}

// Hello is a client's question.
type Hello struct {
	Op   Op // Dialer sets it
	Cell cid.Cid
	// Commit and Fingerprint are what the client was built for, in hex; empty means any.
	Commit, Fingerprint string
	// ETag is the etag of the list that the client has; at most 64 bytes.
	ETag []byte
	// Trust is the version of the newest trust document that the client knows; a List brings a newer one.
	Trust uint64
}

// Welcome is an instance's answer.
type Welcome struct {
	Code   Code
	Detail string // for people; at most 256 bytes, one line
	// What runs there, in hex; empty where not stated.
	Commit, Fingerprint string
	State               record.State
	Incarnation         uint64
	// Load grows with the work in hand; it is compared only between instances of one cell.
	Load uint32
	// Record is the instance's own signed record, as record.Signed.Envelope. Dialer does not verify it.
	Record []byte
}

// A Target is a peer and where it may be reached: /ip4|ip6|dns…/udp/PORT/quic-v1 or …/tcp/PORT/tls, with or without
// /p2p/PEER behind it; or where to ask for a direct path: …/udp/PORT/quic-v1/p2p/RELAY/p2p-circuit.
type Target struct {
	Peer  peer.ID
	Addrs []ma.Multiaddr // at most 16 are looked at
	// Trusted: the addresses stand in our own files or came from our own LAN, so that private ones may be dialled
	// (see Dialable).
	Trusted bool
	// Urgent: somebody waits for this peer, so that a Probe takes the first exchange for its RTT.
	Urgent bool
}
