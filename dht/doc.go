// Package dht is the rendezvous: instances of a cell announce themselves under the cell's CID, and whoever wants one
// finds them there. It runs go-libp2p-kad-dht on a host that it is given, with settings that fit liveness instead of
// content: records live fifteen minutes, every announcement is read back, and both announcing and finding cover the
// whole region of the key space about the key, so that a ring of ground peer ids in front of the key hides nothing.
//
// Nothing in kad-dht is signed. What Find reports are hints: the caller dials, and the handshake and the signed record
// decide. DESIGN.md beside this file says what the package does not do, and why.
package dht
