package link

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"time"
)

const (
	maxHellos    = 1024            // on one stream
	writeTimeout = 4 * time.Second // for one frame: a client that does not read is cut off
	listTimeout  = 5 * time.Second
	heartbeat    = time.Second
	lingerTime   = time.Second
	lingerBytes  = 256 << 10
)

// serve answers the Hellos of one stream until it is opened, watched, refused or over. It calls heard at each of them.
func (s *Server) serve(c *Conn, place *admission, heard func()) {
	defer c.Close()
	wait := s.cfg.Preface
	for range maxHellos {
		h, err := s.hear(c, wait)
		if err != nil {
			s.unheard(c, err)
			return
		}
		place.greet()
		heard()
		wait = s.cfg.Idle
		if reason := s.peers.ask(c.peer, time.Now()); reason != "" || place.crowded {
			s.turnAway(c, h, cmp.Or(reason, turnedPeerConns))
			return
		}
		w, release := s.welcome(h, c, place)
		err = s.reply(c, w)
		switch {
		case err != nil:
			s.cfg.Log.Debug("Welcome not sent", "peer", c.peer, "addr", c.RemoteAddr(), "err", err)
			c.Reset()
		case w.Code != CodeOK && h.Op != Probing:
			linger(c)
		case w.Code != CodeOK:
			continue
		default:
			err = s.follow(h, c)
		}
		c.dropPrepared()
		release()
		if err != nil || h.Op != Probing && h.Op != Listing && h.Op != Asking || w.Code != CodeOK {
			return
		}
	}
}

func (s *Server) hear(c *Conn, wait time.Duration) (Hello, error) {
	c.SetReadDeadline(time.Now().Add(wait))
	frame, err := readFrame(c, maxFrame)
	if err != nil {
		return Hello{}, err
	}
	c.SetReadDeadline(time.Time{})
	return parseHello(frame)
}

// unheard ends a stream on which no Hello came.
func (s *Server) unheard(c *Conn, err error) {
	switch {
	case err == io.EOF:
		return // the client is done
	case errors.Is(err, ErrFrame):
		s.reply(c, Welcome{Code: CodeBad, Detail: err.Error()})
		linger(c)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrPreface
		s.turned.add(turnedPreface)
		c.Reset()
	default:
		c.Reset()
	}
	s.cfg.Log.Debug("no Hello", "peer", c.peer, "addr", c.RemoteAddr(), "err", err)
}

// welcome asks the handler, and takes a place among the open streams or the watches if it says yes.
func (s *Server) welcome(h Hello, c *Conn, place *admission) (w Welcome, release func()) {
	w = s.cfg.Handler.Welcome(h, c.peer)
	switch {
	case w.Code == CodeOK && h.Op == Watching:
		return s.welcomeWatch(c, place, w)
	case w.Code != CodeOK || h.Op != Opening:
		return w, func() {}
	}
	if reason := s.peers.take(ofCalls, c.peer, time.Now()); reason != "" {
		s.turned.add(reason)
		w.Code, w.Detail = CodeBusy, s.cfg.detail(reason)
		return w, func() {}
	}
	if s.opens.Add(1) > int64(s.cfg.MaxOpen) {
		s.turned.add(turnedStreams)
		w.Code, w.Detail = CodeBusy, s.cfg.detail(turnedStreams)
	}
	w = s.prepare(h, c, w)
	c.welcome = w
	return w, func() {
		s.peers.give(ofCalls, c.peer)
		s.opened()
	}
}

// welcomeWatch takes a place for a watch that the handler has welcomed.
func (s *Server) welcomeWatch(c *Conn, place *admission, w Welcome) (_ Welcome, release func()) {
	reason := s.peers.take(ofWatches, c.peer, time.Now())
	if reason == "" {
		if reason = s.watches.take(place.ip); reason != "" {
			s.peers.give(ofWatches, c.peer)
		}
	}
	if reason != "" {
		s.turned.add(reason)
		w.Code, w.Detail = CodeBusy, s.cfg.detail(reason)
		return w, func() {}
	}
	return w, func() {
		s.peers.give(ofWatches, c.peer)
		s.watches.give(place.ip)
	}
}

// turnAway answers a Hello that is one too many.
func (s *Server) turnAway(c *Conn, h Hello, reason string) {
	s.turned.add(reason)
	s.cfg.Log.Debug("client turned away", "peer", c.peer, "addr", c.RemoteAddr(), "cell", h.Cell, "reason", reason)
	if err := s.reply(c, Welcome{Code: CodeBusy, Detail: s.cfg.detail(reason)}); err != nil {
		c.Reset()
		return
	}
	linger(c)
}

func (s *Server) opened() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opens.Add(-1) == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

func (s *Server) reply(c *Conn, w Welcome) error {
	pb, err := w.proto()
	if err != nil {
		s.cfg.Log.Error("Welcome cannot be sent", "err", err)
		return err
	}
	c.SetWriteDeadline(time.Now().Add(writeTimeout))
	err = writeFrame(c, pb, maxFrame)
	c.SetWriteDeadline(time.Time{})
	return err
}

// follow does what comes behind a Welcome.
func (s *Server) follow(h Hello, c *Conn) error {
	switch h.Op {
	case Opening:
		s.open(h, c)
	case Listing:
		return s.list(h, c)
	case Watching:
		return s.watch(h, c)
	case Trusting:
		return s.entrust(h, c)
	case Asking:
		return s.tell(h, c)
	}
	return nil
}

// entrust takes a trust document and says what became of it.
func (s *Server) entrust(h Hello, c *Conn) error {
	c.SetReadDeadline(time.Now().Add(listTimeout))
	frame, err := readFrame(c, maxListFrame)
	if err != nil {
		return err
	}
	l, err := parseList(frame)
	if err == nil {
		err = s.cfg.Handler.Entrust(h.Cell, l.Trust)
	}
	w := Welcome{Code: CodeOK}
	if err != nil {
		w = Welcome{Code: CodeBad, Detail: err.Error()}
	}
	err = s.reply(c, w)
	linger(c)
	return err
}

func (s *Server) list(h Hello, c *Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, listTimeout)
	defer cancel()
	l, err := s.cfg.Handler.List(ctx, h)
	if err == nil {
		err = sendList(c, &l)
	}
	if err != nil {
		s.cfg.Log.Debug("List not sent", "peer", c.peer, "err", err)
		c.Reset()
	}
	return err
}

func sendList(c *Conn, l *List) error {
	for _, f := range l.frames() {
		c.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err := writeFrame(c, f, maxListFrame); err != nil {
			return err
		}
	}
	return c.SetWriteDeadline(time.Time{})
}

// linger ends a stream whose client may have sent more than was read: a TCP connection that is closed with unread
// bytes in it is reset, and the reset can overtake the Welcome.
func linger(c *Conn) {
	c.CloseWrite()
	c.SetReadDeadline(time.Now().Add(lingerTime))
	io.CopyN(io.Discard, c, lingerBytes)
}
