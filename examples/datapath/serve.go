package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// serverName is what the plain server's certificate names.
const serverName = "datapath"

// plainAddrs is where the plain server listens.
type plainAddrs struct {
	Unix, TCP, TLS, QUIC string
	Certificate          []byte // DER
}

// nodeAddrs is what a client knows of an embedded node.
type nodeAddrs struct {
	Peer  string
	Addrs []string // of its host
	Cells []string // multiaddrs on which it serves cells
}

// serve is a server process: it prints where it listens, as JSON, and ends with its input.
func serve(kind string, in io.Reader, out io.Writer) error {
	var addrs any
	var stop func()
	var err error
	switch kind {
	case "plain":
		addrs, stop, err = servePlain()
	case "node":
		addrs, stop, err = serveNode("/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/tls")
	case "libp2p":
		addrs, stop, err = serveLibp2p()
	case "node-quic":
		addrs, stop, err = serveNode("/ip4/127.0.0.1/udp/0/quic-v1")
	default:
		err = fmt.Errorf("no server is called %q", kind)
	}
	if err != nil {
		return err
	}
	defer stop()
	if err := json.NewEncoder(out).Encode(addrs); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}

// servePlain serves on what a Go program would use without us.
func servePlain() (*plainAddrs, func(), error) {
	cert, err := certificate()
	if err != nil {
		return nil, nil, err
	}
	dir, remove, err := shortDir()
	if err != nil {
		return nil, nil, err
	}
	p := &plainAddrs{Certificate: cert.Certificate[0]}
	open, secure := newServer(), newServer(grpc.Creds(credentials.NewTLS(serverTLS(cert))))
	stop := func() {
		open.Stop()
		secure.Stop()
		remove()
	}
	ln := map[string]net.Listener{}
	listen := func(name, network, address string) {
		if err == nil {
			ln[name], err = net.Listen(network, address)
		}
	}
	listen("unix", "unix", filepath.Join(dir, "s"))
	listen("tcp", "tcp", "127.0.0.1:0")
	listen("tls", "tcp", "127.0.0.1:0")
	if err == nil {
		ln["quic"], err = listenQUIC(serverTLS(cert))
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	p.Unix, p.TCP, p.TLS, p.QUIC = ln["unix"].Addr().String(), ln["tcp"].Addr().String(), ln["tls"].Addr().String(), ln["quic"].Addr().String()
	go open.Serve(ln["unix"])
	go open.Serve(ln["tcp"])
	go open.Serve(ln["quic"])
	go secure.Serve(ln["tls"])
	return p, stop, nil
}

func serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
}

// certificate is self-signed, of the kind that servers have.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), DNSNames: []string{serverName}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (p *plainAddrs) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	if cert, err := x509.ParseCertificate(p.Certificate); err == nil {
		pool.AddCert(cert)
	}
	return pool
}

// serveNode serves cells with a node in this process.
func serveNode(listen ...string) (*nodeAddrs, func(), error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	cfg := overlay.Config{Key: key}
	for _, a := range listen {
		cfg.Listen = append(cfg.Listen, ma.StringCast(a))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := overlay.New(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	cells := []string{"direct", "embedded"}
	if len(listen) == 1 {
		cells = []string{"direct-quic"}
	}
	s := newServer()
	for _, name := range cells {
		l, err := n.Listen(ctx, overlay.Service{Cell: cellOf(name)})
		if err != nil {
			return nil, nil, errors.Join(err, n.Close())
		}
		go s.Serve(l)
	}
	a := &nodeAddrs{Peer: n.ID().String()}
	for _, addr := range n.Host().Addrs() {
		a.Addrs = append(a.Addrs, fmt.Sprintf("%s/p2p/%s", addr, n.ID()))
	}
	for _, addr := range n.Listening() {
		a.Cells = append(a.Cells, addr.String())
	}
	return a, func() { s.Stop(); n.Close() }, nil
}

// cellOf is a cell that no git host knows.
func cellOf(name string) manifest.Cell {
	return manifest.Cell{Repository: "file:/nonexistent/cells/" + name, Tag: "v1.0.0"}
}
