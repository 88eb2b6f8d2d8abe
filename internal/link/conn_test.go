package link

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// pair opens a stream whose end at the instance belongs to the test.
func pair(t *testing.T, path string) (client, server *Conn) {
	t.Helper()
	got := make(chan *Conn, 1)
	over := make(chan struct{})
	i := serve(t, &handler{open: func(_ context.Context, _ Hello, c *Conn) {
		got <- c
		<-over
	}})
	t.Cleanup(func() { close(over) })
	d := newDialer(t)
	client = open(t, d, i.target(i.addr(path)))
	server = <-got
	if server.Peer() != d.cfg.Identity.Peer() || server.Path() != path {
		t.Errorf("the instance sees %s over %s", server.Peer(), server.Path())
	}
	return client, server
}

// finish reads to the end and reports it on a channel.
func finish(c io.Reader) <-chan error {
	ch := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, c)
		ch <- err
	}()
	return ch
}

func TestDirectionsCloseOneByOne(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		client, server := pair(t, path)
		io.WriteString(client, "question")
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write([]byte("more")); err == nil {
			t.Error("wrote behind CloseWrite")
		}
		got, err := io.ReadAll(server)
		if string(got) != "question" || err != nil {
			t.Fatalf("instance read %q, %v", got, err)
		}
		io.WriteString(server, "answer")
		server.Close()
		got, err = io.ReadAll(client)
		if string(got) != "answer" || err != nil {
			t.Fatalf("client read %q, %v", got, err)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("second read behind the end: %v", err)
		}
	})
}

func TestAbortIsNeverACleanEnd(t *testing.T) {
	for name, abort := range map[string]func(*Conn){
		"reset": func(c *Conn) { c.Reset() },
		"died": func(c *Conn) { // as the kernel does for a killed process: FIN, no close_notify
			if s, ok := c.stream.(*tcpStream); ok {
				s.raw.Close()
				return
			}
			c.stream.(*quicStream).conn.CloseWithError(quicDone, "")
		},
		"closed in the middle of a write": func(c *Conn) {
			wrote := make(chan error, 1)
			c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			for err := error(nil); err == nil; { // until every buffer on the way is full
				_, err = c.Write(make([]byte, 1<<20))
			}
			c.SetWriteDeadline(time.Time{})
			go func() {
				_, err := c.Write([]byte("stuck"))
				wrote <- err
			}()
			c.Close()
			<-wrote
		},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, path string) {
				client, server := pair(t, path)
				io.WriteString(server, "half a mess")
				if _, err := io.ReadFull(client, make([]byte, 11)); err != nil {
					t.Fatal(err)
				}
				abort(server)
				_, err := io.Copy(io.Discard, client)
				if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
					t.Errorf("read %v, want io.ErrUnexpectedEOF", err)
				}
			})
		})
	}
}

func TestWriterLearnsOfAbort(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		client, server := pair(t, path)
		server.Reset()
		client.SetWriteDeadline(time.Now().Add(5 * time.Second))
		var err error
		for err == nil {
			_, err = client.Write(make([]byte, 1<<16))
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCloseEndsReadsAndWrites(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		client, _ := pair(t, path)
		read := finish(client)
		write := make(chan error, 1)
		go func() {
			var err error
			for err == nil {
				_, err = client.Write(make([]byte, 1<<20)) // nobody reads
			}
			write <- err
		}()
		client.Close()
		client.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if err := <-write; err == nil {
			t.Error("write went through")
		}
	})
}

func TestDeadlines(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		client, server := pair(t, path)
		client.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		_, err := client.Read(make([]byte, 1))
		var ne net.Error
		if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("read: %v", err)
		}
		client.SetReadDeadline(time.Time{})
		io.WriteString(server, "late")
		if _, err := io.ReadFull(client, make([]byte, 4)); err != nil {
			t.Errorf("read after the deadline was lifted: %v", err)
		}
		client.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		for err = nil; err == nil; {
			_, err = client.Write(make([]byte, 1<<20))
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestSlowReaderHoldsTheWriterBack(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		client, server := pair(t, path)
		const chunk, most = 1 << 20, 64 << 20
		written := 0
		server.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		for written < most {
			n, err := server.Write(make([]byte, chunk))
			written += n
			if err != nil {
				break
			}
		}
		if written >= most {
			t.Fatalf("%d MiB went out and nobody read", written>>20)
		}
		client.Close()
	})
}

func TestAllBytesArriveInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{})
		c := open(t, newDialer(t), i.target(i.addr(path)))
		const size = 8 << 20
		go func() {
			io.Copy(c, io.LimitReader(&counter{}, size))
			c.CloseWrite()
		}()
		want := &counter{}
		got, exp := make([]byte, 32<<10), make([]byte, 32<<10)
		total := 0
		for {
			n, err := c.Read(got)
			want.Read(exp[:n])
			if string(got[:n]) != string(exp[:n]) {
				t.Fatalf("wrong bytes behind %d", total)
			}
			if total += n; err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if total != size {
			t.Errorf("%d bytes came back, want %d", total, size)
		}
	})
}

// counter is an endless stream in which no two neighbouring KiB are equal.
type counter struct{ n int }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c.n ^ c.n>>8 ^ c.n>>16)
		c.n++
	}
	return len(b), nil
}

// raw connects without saying Hello.
func raw(t *testing.T, i *instance, path string) *Conn {
	t.Helper()
	e, err := parseAddr(i.addr(path), i.id.Peer())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newDialer(t).connect(withTimeout(t, 5*time.Second), i.target(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

func helloFrame(t *testing.T, op Op, cell Hello) []byte {
	t.Helper()
	cell.Op = op
	pb, err := cell.proto()
	if err != nil {
		t.Fatal(err)
	}
	b, err := appendFrame(nil, pb, maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readWelcome(t *testing.T, c io.Reader) Welcome {
	t.Helper()
	frame, err := readFrame(c, maxFrame)
	if err != nil {
		t.Fatal(err)
	}
	w, err := parseWelcome(frame)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDataMayFollowTheHelloAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		c := raw(t, serve(t, &handler{}), path)
		text := strings.Repeat("data right behind ", 500)
		c.Write(append(append(helloFrame(t, Probing, hello), helloFrame(t, Opening, hello)...), text...))
		c.CloseWrite()
		for range 2 {
			if w := readWelcome(t, c); w.Code != CodeOK {
				t.Fatalf("got %+v", w)
			}
		}
		if got, err := io.ReadAll(c); string(got) != text || err != nil {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	})
}

func TestRefusalReachesAClientThatSendsOn(t *testing.T) {
	onEach(t, func(t *testing.T, path string) {
		i := serve(t, &handler{welcome: func(Hello, peer.ID) Welcome { return Welcome{Code: CodeFingerprint, Fingerprint: "abcd"} }})
		c := raw(t, i, path)
		c.Write(append(helloFrame(t, Opening, hello), make([]byte, 100<<10)...))
		if w := readWelcome(t, c); w.Code != CodeFingerprint || w.Fingerprint != "abcd" {
			t.Errorf("got %+v", w)
		}
	})
}
