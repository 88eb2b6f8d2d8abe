package gossip

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// liars turns some nodes into one conspiracy: they vote anybody dead with the longest claim there is, put all their
// votes together, say that the certificate is old, pass on nobody's records, and never vouch for anybody.
type liars struct {
	w     *world
	nodes []*modelNode
	age   time.Duration
	made  int
}

func (l *liars) turn(n *modelNode) {
	l.nodes = append(l.nodes, n)
	n.bend = func(m Message) Message {
		switch m := m.(type) {
		case *Push:
			own := len(m.Records) == 1 && len(m.Deaths) == 0 && string(m.Records[0]) == string(n.m.own.Envelope)
			if !own {
				return nil
			}
		case *Answer, *IDs, *Buckets:
			return nil
		}
		return m
	}
}

// accuse makes every liar send a certificate against a node to all its neighbours at once.
func (l *liars) accuse(victim *modelNode) {
	e := l.nodes[0].m.roster.entries[victim.id]
	if e == nil || !e.rank.alive() {
		return
	}
	c := &Certificate{Subject: victim.id, Version: e.rank.version(), Expires: e.record.Expires}
	for _, n := range l.nodes {
		if n == victim || len(c.Votes) == maxVotes || !n.m.rings.accepts(n.id, victim.id, l.w.now) {
			continue
		}
		v, err := signVote(n.key, n.id, testCell, victim.id, c.Version, l.w.now, maxWaited)
		if err != nil {
			l.w.t.Fatal(err)
		}
		c.Votes = append(c.Votes, v)
	}
	if len(c.Votes) == 0 {
		return
	}
	l.made++
	p := l.w.pack(&Push{Deaths: []Death{{c, l.age}}})
	for _, n := range l.nodes {
		for _, id := range n.m.neighbours() {
			if s := n.stream(id); id != victim.id && s != nil {
				s.put(p)
			}
		}
	}
}

func TestLiveMemberSurvivesLiars(t *testing.T) {
	t.Parallel()
	for _, n := range []int{8, 24} {
		for _, age := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("N=%d age=%s", n, age), func(t *testing.T) {
				w := newWorld(t, uint64(n), WAN())
				w.wan(0.05)
				w.cell(n)
				l := &liars{w: w, age: age}
				for i := range n * 3 / 10 {
					l.turn(w.nodes[3*i])
				}
				frames := w.frames
				w.run(20 * time.Second)
				quiet := w.frames - frames
				frames = w.frames
				for range 30 {
					victim := w.nodes[w.rand.IntN(n)]
					if !slices.Contains(l.nodes, victim) {
						l.accuse(victim)
					}
					w.run(time.Second)
				}
				w.run(5 * time.Second)
				t.Logf("%d certificates, frames a second %d -> %d, false deaths %d", l.made, quiet/20, (w.frames-frames)/35, w.falseDeaths())
				w.mustHaveNoFalseDeath()
				w.mustAgree()
			})
		}
	}
}
