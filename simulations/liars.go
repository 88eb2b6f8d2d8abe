package simulations

import (
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cellnode/cellnode/gossip"
	"github.com/cellnode/cellnode/internal/record"
)

// Liars are nodes in one conspiracy. Their machines run, so that they are members in good standing; but they pass on
// nobody's records, vouch for nobody, vote for nobody but themselves, and say what suits them.
type Liars struct {
	// Age is what they say of the age of their certificates.
	Age time.Duration
	// Accusations counts the certificates that they have made.
	Accusations int

	w     *World
	nodes []*Node
}

// Turn makes liars of some nodes.
func (w *World) Turn(nodes ...*Node) *Liars {
	l := &Liars{w: w, nodes: nodes}
	for _, n := range nodes {
		n.Bend = func(m gossip.Message) gossip.Message { return withhold(n, m) }
	}
	return l
}

// Lies reports whether a node is one of them.
func (l *Liars) Lies(n *Node) bool { return slices.Contains(l.nodes, n) }

// withhold drops whatever would help others.
func withhold(n *Node, m gossip.Message) gossip.Message {
	switch m := m.(type) {
	case *gossip.Push:
		if len(m.Records) != 1 || len(m.Deaths) > 0 || string(m.Records[0]) != string(n.m.Self().Envelope) {
			return nil
		}
	case *gossip.Answer, *gossip.IDs, *gossip.Buckets:
		return nil
	}
	return m
}

// Doubters counts the honest members, besides itself, that do not list a node.
func (l *Liars) Doubters(n *Node) int {
	count := 0
	for _, o := range l.w.nodes {
		if o != n && o.Present() && !l.Lies(o) && !o.Lists(n) {
			count++
		}
	}
	return count
}

// Accuse makes every liar send a certificate against a node to all its neighbours at once: the votes of all liars that
// count, each with the longest claim there is.
func (l *Liars) Accuse(victim *Node) {
	view := l.nodes[0].m
	known, ok := view.Member(victim.ID)
	if !ok {
		return
	}
	rec := known.Record
	c := &gossip.Certificate{Subject: victim.ID, Version: gossip.Version{Incarnation: rec.Incarnation, Seq: rec.Seq}, Expires: rec.Expires}
	for _, n := range l.nodes {
		if n != victim && view.Accepts(n.ID, victim.ID) && len(c.Votes) < gossip.MaxVotes {
			c.Votes = append(c.Votes, l.vote(n, c))
		}
	}
	if len(c.Votes) == 0 {
		return
	}
	l.Accusations++
	push := &gossip.Push{Deaths: []gossip.Death{{Certificate: c, Age: l.Age}}}
	for _, n := range l.nodes {
		if n.Present() {
			to := n.m.Neighbours()
			n.Send(push, slices.DeleteFunc(to, func(id peer.ID) bool { return id == victim.ID })...)
		}
	}
}

// Readmission cuts a member off while the liars accuse it, until no honest member lists it, and lets it back. It returns
// the time from its refutation until every honest member lists it again. Either may take at most within.
func (l *Liars) Readmission(victim *Node, within time.Duration) (time.Duration, error) {
	w := l.w
	cut := w.Cut
	w.Cut = func(a, b *Node) bool { return a == victim || b == victim || cut != nil && cut(a, b) }
	l.Accuse(victim)
	others := w.Present() - len(l.nodes) - 1
	dropped := w.Until(within, func() bool { return l.Doubters(victim) == others })
	w.Cut = cut
	if !dropped {
		return 0, fmt.Errorf("simulations: node %d is cut off, and still listed after %s", victim.Index, within)
	}
	before := victim.version()
	if !w.Until(within, func() bool { return victim.version() != before }) {
		return 0, fmt.Errorf("simulations: node %d has not refuted within %s", victim.Index, within)
	}
	refuted := w.now
	if !w.Until(within, func() bool { return l.Doubters(victim) == 0 }) {
		return 0, fmt.Errorf("simulations: node %d is not listed by %d of %d, %s after it refuted", victim.Index, l.Doubters(victim), others, within)
	}
	return w.now.Sub(refuted), nil
}

func (l *Liars) vote(n *Node, c *gossip.Certificate) gossip.Vote {
	v, err := gossip.SignVote(n.Key, n.ID, Cell, c.Subject, c.Version, l.w.now, gossip.MaxWaited)
	if err != nil {
		panic(fmt.Sprintf("simulations: vote of node %d: %v", n.Index, err))
	}
	return v
}

// Slander lets one liar tell one of its neighbours one lie, drawn from all that the format allows.
func (l *Liars) Slander() {
	w := l.w
	n := l.nodes[w.Rand.IntN(len(l.nodes))]
	victim := w.nodes[w.Rand.IntN(len(w.nodes))]
	if !n.Present() || victim == n {
		return
	}
	to := n.m.Neighbours()
	known, ok := n.m.Member(victim.ID)
	if len(to) == 0 || !ok {
		return
	}
	lies := l.lies(n, known.Record)
	n.Send(lies[w.Rand.IntN(len(lies))], to[w.Rand.IntN(len(to))])
}

// lies are messages of every kind, each false or worthless.
func (l *Liars) lies(n *Node, about *record.Signed) []gossip.Message {
	v := gossip.Version{Incarnation: about.Incarnation, Seq: about.Seq}
	later := gossip.Version{Incarnation: v.Incarnation, Seq: v.Seq + 1 + uint64(l.w.Rand.IntN(1000))}
	c := &gossip.Certificate{Subject: about.Peer, Version: v, Expires: about.Expires}
	c.Votes = []gossip.Vote{l.vote(n, c)}
	bent := *c
	bent.Votes = []gossip.Vote{{Voter: c.Votes[0].Voter, At: c.Votes[0].At, Waited: gossip.MaxWaited / 2, Signature: c.Votes[0].Signature}}
	own := &gossip.Certificate{Subject: about.Peer, Version: later, Expires: about.Expires}
	own.Votes = []gossip.Vote{l.vote(n, own)}
	envelope := slices.Clone(about.Envelope)
	envelope[len(envelope)-1] ^= byte(1 + l.w.Rand.IntN(255))
	nonce := gossip.Nonce{byte(l.w.Rand.Uint32())}
	buckets := &gossip.Buckets{Count: 1 << 20}
	for i := range buckets.Hashes {
		buckets.Hashes[i] = l.w.Rand.Uint64()
	}
	return []gossip.Message{
		&gossip.Push{Deaths: []gossip.Death{{Certificate: c, Age: l.Age}}},     // one voter
		&gossip.Push{Deaths: []gossip.Death{{Certificate: &bent, Age: l.Age}}}, // a changed claim
		&gossip.Push{Deaths: []gossip.Death{{Certificate: own}}},               // of a record that is not there
		&gossip.Push{Records: [][]byte{envelope}},                              // a broken signature
		&gossip.Push{Records: [][]byte{about.Envelope}},                        // what all know
		&gossip.Ping{ID: l.w.Rand.Uint64(), Voted: &v},                         // to make it refute
		&gossip.Ping{ID: l.w.Rand.Uint64(), Voted: &later},                     // to make it count up
		&gossip.Ping{ID: l.w.Rand.Uint64(), Nonce: &nonce},                     // to make it sign
		&gossip.Ack{Next: time.Hour, State: record.Unhealthy, Seq: 1 << 40},    // never ask me again
		&gossip.Ack{Next: time.Millisecond, State: record.Serving, Seq: 1},     // ask me all the time
		&gossip.Ask{Subject: about.Peer, Version: v, Nonce: nonce},             // look at somebody who is well
		&gossip.Answer{Subject: about.Peer, Nonce: nonce, Version: v, Vote: &c.Votes[0]},
		&gossip.Answer{Subject: about.Peer, Nonce: nonce, Alive: make([]byte, 64)},
		&gossip.Root{Root: l.w.Rand.Uint64(), Count: 1 << 20}, // a list that differs
		buckets,
		&gossip.IDs{Buckets: []byte{0, 1, 2}, IDs: []gossip.ID{{Peer: about.Peer, Version: later}}},
		&gossip.Want{Peers: []peer.ID{about.Peer}},
		&gossip.Have{Deaths: []gossip.ID{{Peer: about.Peer, Version: v}}}, // a death that it cannot show
		&gossip.Hello{Record: n.m.Self().Envelope, Count: 1 << 20, Root: l.w.Rand.Uint64()},
	}
}
