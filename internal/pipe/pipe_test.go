package pipe

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A piped is one run of Pipe: what is written to client comes out of service, and back.
type piped struct {
	client, service net.Conn
	result          chan error
}

// startPipe joins a near connection of one kind with a far one of another.
func startPipe(t *testing.T, near, far string) piped {
	t.Helper()
	client, a := pair(t, near)
	service, b := pair(t, far)
	p := piped{client, service, make(chan error, 1)}
	go func() { p.result <- Join(t.Context(), a, b) }()
	return p
}

// pair returns both ends of a connection: a client's, and the accepter's, to which for TLS the client has shaken hands.
func pair(t *testing.T, kind string) (dialled, accepted net.Conn) {
	t.Helper()
	network, address := "tcp", "127.0.0.1:0"
	if kind == "unix" {
		network, address = "unix", socketPath(t)
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if dialled, err = net.Dial(network, ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		dialled.Close()
		accepted.Close()
	})
	if kind == "tls" {
		client := tls.Client(dialled, &tls.Config{InsecureSkipVerify: true})
		server := tls.Server(accepted, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
		var group sync.WaitGroup
		group.Go(func() { _ = server.Handshake() })
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		group.Wait()
		dialled, accepted = client, server
	}
	return dialled, accepted
}

func closeWrite(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Error(err)
	}
}

var kinds = [][2]string{{"tcp", "unix"}, {"unix", "tcp"}, {"tcp", "tcp"}, {"unix", "unix"}, {"tls", "unix"}, {"tls", "tcp"}}

func TestHalfCloseIsCarriedOverAndTheAnswerStillComes(t *testing.T) {
	request, answer := make([]byte, 3<<20+7), make([]byte, 1<<20+5)
	rand.Read(request)
	rand.Read(answer)
	for _, kind := range kinds {
		t.Run(kind[0]+" to "+kind[1], func(t *testing.T) {
			p := startPipe(t, kind[0], kind[1])
			var group sync.WaitGroup
			group.Go(func() {
				got, err := io.ReadAll(p.service) // ends only if the client's half-close arrives
				if err != nil || !bytes.Equal(got, request) {
					t.Errorf("the service read %d bytes, %v; want %d", len(got), err, len(request))
				}
				if _, err := p.service.Write(answer); err != nil {
					t.Error(err)
				}
				closeWrite(t, p.service)
			})
			if _, err := p.client.Write(request); err != nil {
				t.Error(err)
			}
			closeWrite(t, p.client)
			got, err := io.ReadAll(p.client)
			if err != nil || !bytes.Equal(got, answer) {
				t.Errorf("the client read %d bytes, %v; want %d", len(got), err, len(answer))
			}
			group.Wait()
			if err := <-p.result; err != nil {
				t.Errorf("Pipe: %v", err)
			}
		})
	}
}

func TestSmallMessagesGoBackAndForth(t *testing.T) {
	for _, kind := range kinds {
		p := startPipe(t, kind[0], kind[1])
		go func() {
			_, _ = io.Copy(p.service, p.service)
			p.service.Close()
		}()
		for _, size := range []int{1, smallBuffer, smallBuffer + 1, much, largeBuffer, 100} {
			sent, got := bytes.Repeat([]byte{byte(size)}, size), make([]byte, size)
			if _, err := p.client.Write(sent); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(p.client, got); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%v: %d bytes came back wrong: %v", kind, size, err)
			}
		}
		p.client.Close()
		<-p.result
	}
}

// An abort at one end must arrive as an error and not as a clean end. Unix sockets cannot say it, so here are the others.
func TestAnAbortIsNeverACleanEnd(t *testing.T) {
	for _, kind := range [][2]string{{"tcp", "tcp"}, {"tls", "tcp"}} {
		t.Run("client on "+kind[0], func(t *testing.T) {
			p := startPipe(t, kind[0], kind[1])
			exchange(t, p)
			Abort(p.client, nil)
			if _, err := p.service.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the service read %v, want a reset", err)
			}
			if err := <-p.result; err == nil {
				t.Error("Pipe returned nil")
			}
		})
		t.Run("service behind "+kind[0], func(t *testing.T) {
			p := startPipe(t, kind[0], kind[1])
			exchange(t, p)
			Abort(p.service, nil)
			if _, err := p.client.Read(make([]byte, 1)); err == nil || err == io.EOF {
				t.Errorf("the client read %v, want a reset", err)
			}
			if err := <-p.result; err == nil {
				t.Error("Pipe returned nil")
			}
		})
	}
}

func TestAClientsAbortClosesAUnixServiceBothWays(t *testing.T) {
	p := startPipe(t, "tls", "unix")
	exchange(t, p)
	Abort(p.client, nil)
	if _, err := p.service.Read(make([]byte, 1)); err == nil {
		t.Error("the service read on")
	}
	if err := <-p.result; err == nil {
		t.Error("Pipe returned nil")
	}
	if _, err := p.service.Write([]byte("x")); err == nil {
		t.Error("the service could still write, as after a clean half-close")
	}
}

// exchange sends a byte each way, so that everything stands.
func exchange(t *testing.T, p piped) {
	t.Helper()
	for _, way := range [][2]net.Conn{{p.client, p.service}, {p.service, p.client}} {
		if _, err := way[0].Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnEarlyAnswerIsHeardThoughTheRequestCannotBeDelivered(t *testing.T) {
	p := startPipe(t, "unix", "unix")
	if _, err := p.service.Write([]byte("too large")); err != nil {
		t.Fatal(err)
	}
	p.service.Close()
	go func() { _, _ = p.client.Write(make([]byte, 8<<20)) }()
	got := make([]byte, len("too large"))
	if _, err := io.ReadFull(p.client, got); err != nil || string(got) != "too large" {
		t.Errorf("the client read %q, %v", got, err)
	}
	if err := <-p.result; err == nil {
		t.Error("Pipe returned nil though bytes were lost")
	}
}

func TestTheEndOfTheContextAbortsBothSides(t *testing.T) {
	client, a := pair(t, "tls")
	service, b := pair(t, "tcp")
	cause := errors.New("drained")
	ctx, cancel := context.WithCancelCause(t.Context())
	result := make(chan error, 1)
	go func() { result <- Join(ctx, a, b) }()
	exchange(t, piped{client, service, nil})
	cancel(cause)
	for _, conn := range []net.Conn{client, service} {
		if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read %v, want a reset", err)
		}
	}
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("Pipe: %v, want the context's cause", err)
	}
}

// recorder is a connection that says how it was ended.
type recorder struct {
	net.Conn
	resets chan struct{}
}

func (r recorder) Reset() error {
	r.resets <- struct{}{}
	return nil
}

func TestConnectionsThatOfferAResetGetIt(t *testing.T) {
	near, a := net.Pipe()
	far, b := net.Pipe()
	defer near.Close()
	r := recorder{b, make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Join(ctx, a, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Pipe: %v", err)
	}
	<-r.resets
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the connection was left open")
	}
}

func TestConnectionsWithoutHalfCloseAreClosedWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, a := net.Pipe()
		service, b := net.Pipe()
		result := make(chan error, 1)
		go func() { result <- Join(t.Context(), a, b) }()
		exchange(t, piped{client, service, nil})
		client.Close()
		if _, err := service.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the service read %v, want an end", err)
		}
		if err := <-result; err != nil {
			t.Errorf("Pipe: %v", err)
		}
	})
}

func TestASlowReaderSlowsItsWriterAndIdlingIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, a := net.Pipe()
		service, b := net.Pipe()
		result := make(chan error, 1)
		go func() { result <- Join(t.Context(), a, b) }()
		written := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 100 {
				n, _ := client.Write(make([]byte, smallBuffer))
				written += n
			}
			client.Close()
		}()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if written > 2*largeBuffer {
			t.Errorf("%d bytes were taken though nobody read", written)
		}
		n, err := io.Copy(io.Discard, service)
		if err != nil || n != 100*smallBuffer {
			t.Errorf("the service read %d bytes, %v", n, err)
		}
		<-done
		<-result
	})
}
