package link

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/crypto/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

// Identity is an Ed25519 key with its TLS certificate. It is immutable and may be shared.
type Identity struct {
	tls  *libp2ptls.Identity
	peer peer.ID
}

// NewIdentity makes the certificate of a key, which must be Ed25519.
func NewIdentity(key crypto.PrivKey) (*Identity, error) {
	if key == nil || key.Type() != pb.KeyType_Ed25519 {
		return nil, errors.New("link: an identity needs an Ed25519 key")
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	cert, err := libp2ptls.NewIdentity(key)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return &Identity{cert, id}, nil
}

// Ephemeral makes an identity of a new key: a client needs no lasting one.
func Ephemeral() (*Identity, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return NewIdentity(key)
}

// Peer returns the identity's peer ID.
func (i *Identity) Peer() peer.ID { return i.peer }

// ServerTLS returns a configuration for a listener. It takes any Ed25519 peer and serves any number of connections.
func (i *Identity) ServerTLS() *tls.Config { return i.config("", new(verdict)) }

// ClientTLS returns a configuration for handshakes with the given peer; any other is refused with ErrWrongPeer.
func (i *Identity) ClientTLS(to peer.ID) *tls.Config {
	if to == "" {
		to = "nobody" // no certificate proves it
	}
	return i.config(to, new(verdict))
}

// A verdict is what came of the other end's certificate in one handshake. quic-go turns the errors of a handshake
// into its own, so they are kept aside.
type verdict struct {
	mu   sync.Mutex
	peer peer.ID
	err  error
}

func (v *verdict) set(id peer.ID, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peer, v.err = id, err
}

// explain returns why the certificate was refused, or err when it was not.
func (v *verdict) explain(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.err != nil {
		return v.err
	}
	return err
}

// config returns a TLS configuration that takes the wanted peer, or any if want is empty. libp2p's own is good for
// one handshake only (it closes a channel in VerifyPeerCertificate), so its certificate check is called from here.
func (i *Identity) config(want peer.ID, v *verdict) *tls.Config {
	cfg, _ := i.tls.ConfigForPeer("")
	cfg.NextProtos = []string{ALPN}
	cfg.VerifyPeerCertificate = nil
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		id, err := checkPeer(state)
		if err == nil && want != "" && id != want {
			err = fmt.Errorf("%w: want %s, %s answered", ErrWrongPeer, want, id)
		}
		v.set(id, err)
		return err
	}
	return cfg
}

// checkPeer returns whose certificate the other end has shown. Both ends insist on the ALPN: crypto/tls takes an
// end that names none.
func checkPeer(state tls.ConnectionState) (peer.ID, error) {
	if state.NegotiatedProtocol != ALPN {
		return "", fmt.Errorf("link: the other end does not speak %s", ALPN)
	}
	if len(state.PeerCertificates) != 1 {
		return "", fmt.Errorf("link: %d certificates, want one", len(state.PeerCertificates))
	}
	// crypto/tls shares parsed certificates between connections and libp2p changes what it checks.
	cert, err := x509.ParseCertificate(state.PeerCertificates[0].Raw)
	if err != nil {
		return "", fmt.Errorf("link: certificate: %w", err)
	}
	key, err := libp2ptls.PubKeyFromCertChain([]*x509.Certificate{cert})
	if err != nil {
		return "", fmt.Errorf("link: certificate: %w", err)
	}
	if key.Type() != pb.KeyType_Ed25519 {
		return "", errors.New("link: the other end's key is not Ed25519")
	}
	return peer.IDFromPublicKey(key)
}
