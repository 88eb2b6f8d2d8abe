package client

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/internal/record"
	"github.com/cellnode/cellnode/manifest"
	"github.com/cellnode/cellnode/overlay"
)

// publishers are those of a signed cell; each instance has an Authority of its own, as each process has.
type publishers struct {
	t     *testing.T
	trust manifest.Trust
	chain *record.TrustChain
}

func keyText(t testing.TB, key crypto.PrivKey) string {
	t.Helper()
	raw, err := key.GetPublic().Raw()
	if err != nil {
		t.Fatal(err)
	}
	return manifest.FormatKey(raw)
}

func (p *publishers) authority() *record.Authority {
	p.t.Helper()
	a, err := record.NewAuthority(exchange, p.trust)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *publishers) grant(by crypto.PrivKey, to peer.ID) *record.Grants {
	p.t.Helper()
	now := time.Now().Truncate(time.Second)
	g, err := record.SignGrant(by, record.Grant{
		Cell: exchange.ID(), Peer: to, Capabilities: []record.Capability{record.Serve}, Serial: uint64(now.UnixNano()),
		NotBefore: now, NotAfter: now.Add(time.Hour),
	}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return g
}

// amend makes the next version, signed by these keys, and hands it to one instance.
func (p *publishers) amend(c *Client, found Found, change func(*record.Trust), keys ...crypto.PrivKey) {
	p.t.Helper()
	next := p.chain.Newest(record.FirstTrust(exchange.Repository, p.trust))
	next.Version++
	next.Publishers = slices.Clone(next.Publishers)
	next.Issued, next.Expires = time.Now(), time.Now().Add(time.Hour)
	change(&next)
	var err error
	if p.chain, err = p.chain.Append(next); err != nil {
		p.t.Fatal(err)
	}
	for _, key := range keys {
		if err := p.chain.Sign(key); err != nil {
			p.t.Fatal(err)
		}
	}
	if took, err := c.Entrust(within(p.t), found, p.chain.Bytes()); took == 0 {
		p.t.Fatal(err)
	}
}

func (p *publishers) serve(by crypto.PrivKey, name string, known ...*instance) (*instance, *record.Authority) {
	p.t.Helper()
	n, err := overlay.New(p.t.Context(), overlay.Config{Key: newKey(p.t), NoDHT: true, Listen: []ma.Multiaddr{
		ma.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"), ma.StringCast("/ip4/127.0.0.1/tcp/0/tls"),
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { n.Close() })
	authority := p.authority()
	i, err := n.Serve(p.t.Context(), overlay.Service{
		Cell: exchange, Commit: commit, Grant: p.grant(by, n.ID()), Authority: authority, Handle: echo(name),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	i.Meet(seeds(known...))
	return &instance{n, i}, authority
}

// call makes one call.
func call(conn net.Conn, err error) error {
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte("ping")); err != nil {
		return err
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	said, err := io.ReadAll(conn)
	if err == nil && !bytes.HasSuffix(said, []byte("\nping")) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// poll waits for what no event tells of: a counter, or a record that is only renewed.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx := within(t)
	for !done() {
		if ctx.Err() != nil {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// The publishers change their keys while the cell is called: no call fails.
func TestKeysRotateUnderLoad(t *testing.T) {
	old, fresh := newKey(t), newKey(t)
	p := &publishers{t: t, trust: manifest.Trust{Keys: []string{keyText(t, old)}, Threshold: 1}}
	one, _ := p.serve(old, "one")
	two, atTwo := p.serve(old, "two", one)
	dir := consumer(t, one.seed(), two.seed())
	lock := manifest.Lock{Cells: []manifest.LockedCell{{
		Name: "exchange", Cell: exchange, Git: exchange.URL(), Commit: commit, Seeds: seeds(one, two),
		Trust: &manifest.LockedTrust{Keys: p.trust.Keys, Threshold: 1},
	}}}
	data, err := lock.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/Cell.lock", string(data))
	c := newClient(t, Config{Dir: dir})
	found := await(t, c, "both are listed", lists(one, two))

	var calls, failed atomic.Int64
	done := make(chan struct{})
	var wg sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
	defer end()
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				conn, err := c.Dial(within(t), "exchange")
				if err := call(conn, err); err != nil {
					failed.Add(1)
					t.Errorf("call %d: %v", calls.Load(), err)
				}
				calls.Add(1)
			}
		})
	}
	p.amend(c, found, func(n *record.Trust) {
		n.Publishers = append(n.Publishers, record.Publisher{Key: keyText(t, fresh), Capabilities: record.PublisherCapabilities()})
	}, old)
	for _, i := range []*instance{one, two} {
		poll(t, "the first document is known", func() bool { return atTwo.Version() >= 1 })
		if err := i.SetGrant(p.grant(fresh, i.Node.ID())); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.cell(within(t), "exchange")
	if err != nil {
		t.Fatal(err)
	}
	var granted Found
	poll(t, "both are known by their new grants", func() bool {
		granted = Found{s.Cell, s.tracker.Snapshot()}
		return lists(one, two)(granted.Instances) && !slices.ContainsFunc(granted.Instances, func(i find.Instance) bool {
			return !bytes.Equal(i.Record.Grant, one.Record().Grant) && !bytes.Equal(i.Record.Grant, two.Record().Grant)
		})
	})
	before := calls.Load()
	p.amend(c, granted, func(n *record.Trust) { n.Publishers = n.Publishers[1:] }, old, fresh)
	poll(t, "two hundred calls more", func() bool { return calls.Load() >= before+200 || failed.Load() > 0 })
	end()
	t.Logf("%d calls, %d failed", calls.Load(), failed.Load())
	await(t, c, "both serve on", lists(one, two))

	// What the old key signs counts no more; and a revoked instance is used by nobody within a second.
	p.amend(c, granted, func(n *record.Trust) { n.RevokedPeers = []peer.ID{two.Node.ID()} }, fresh)
	began := time.Now()
	await(t, c, "the revoked one is gone", lists(one))
	if took := time.Since(began); took > time.Second {
		t.Errorf("gone after %s", took)
	}
}
