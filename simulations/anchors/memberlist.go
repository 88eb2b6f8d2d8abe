package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

func lanConfig() *memberlist.Config { return memberlist.DefaultLANConfig() }

func wanConfig() *memberlist.Config { return memberlist.DefaultWANConfig() }

// tunedConfig is the LAN profile made as quick as our detector: probes twice as often, their timeout in the same
// proportion, and the suspicion, at 2, ends at its minimum, because no confirmations are waited for.
func tunedConfig() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult = 500*time.Millisecond, 250*time.Millisecond, 2
	return c
}

// anchor is one memberlist member.
type anchor struct {
	name      string
	list      *memberlist.Memberlist
	transport *transport
	census    *census
}

func startMemberlist(profile func() *memberlist.Config) func(context.Context, *lab, int) (member, error) {
	return func(_ context.Context, l *lab, number int) (member, error) {
		a := &anchor{name: fmt.Sprintf("m%04d", number), census: l.census}
		conf := profile()
		conf.Name, conf.BindAddr, conf.BindPort = a.name, "127.0.0.1", 0
		conf.LogOutput, conf.Events = &suspicions{by: a.name, census: l.census}, a
		var err error
		if a.transport, err = newTransport(&l.wire); err != nil {
			return nil, err
		}
		conf.Transport = a.transport
		conf.AdvertisePort = a.transport.port()
		l.census.born(a.name)
		if a.list, err = memberlist.Create(conf); err != nil {
			return nil, fmt.Errorf("anchors: memberlist: %w", err)
		}
		return a, nil
	}
}

// NotifyJoin implements memberlist.EventDelegate.
func (a *anchor) NotifyJoin(n *memberlist.Node) { a.census.learn(a.name, time.Now(), listed, n.Name) }

// NotifyLeave implements memberlist.EventDelegate.
func (a *anchor) NotifyLeave(n *memberlist.Node) {
	a.census.learn(a.name, time.Now(), unlisted, n.Name)
}

// NotifyUpdate implements memberlist.EventDelegate.
func (a *anchor) NotifyUpdate(*memberlist.Node) {}

func (a *anchor) id() string { return a.name }

func (a *anchor) join(_ context.Context, through member) error {
	o, ok := through.(*anchor)
	if !ok {
		return fmt.Errorf("anchors: %T cannot join %T", a, through)
	}
	_, err := a.list.Join([]string{o.transport.addr()})
	return err
}

func (a *anchor) silence() {
	a.transport.dark.Store(true)
	unreachable.Store(a.transport.addr(), true)
}

func (a *anchor) stop() error { return a.list.Shutdown() }

func (a *anchor) cost() cost { return cost{} }

// suspicions reads memberlist's log, the only place where it tells that an own look at a member has failed.
type suspicions struct {
	by     string
	census *census
	mu     sync.Mutex
	line   []byte // unfinished
}

// Write implements io.Writer.
func (s *suspicions) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.line = append(s.line, p...)
	for {
		line, rest, whole := bytes.Cut(s.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		if _, after, ok := strings.Cut(string(line), "memberlist: Suspect "); ok {
			name, _, _ := strings.Cut(after, " ")
			s.census.learn(s.by, time.Now(), suspected, name)
		}
		s.line = rest
	}
}
