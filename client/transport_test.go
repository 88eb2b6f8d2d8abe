package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/cellnode/cellnode/internal/choice"
	"github.com/cellnode/cellnode/internal/find"
	"github.com/cellnode/cellnode/overlay"
)

// serveHTTP starts an instance that speaks HTTP, both versions.
func serveHTTP(t testing.TB, handler http.HandlerFunc, known ...*instance) *instance {
	t.Helper()
	n := newNode(t)
	l, err := n.Listen(t.Context(), overlay.Service{Cell: exchange, Commit: commit})
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: handler, Protocols: protocols}
	ended := make(chan struct{})
	go func() { s.Serve(l); close(ended) }()
	t.Cleanup(func() { s.Close(); <-ended })
	l.Meet(seeds(known...))
	return &instance{n, l.Instance}
}

// says answers with a name, the version of HTTP, the host and what was sent.
func says(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, name+" "+r.Proto+" "+r.Host+" "+string(body))
	}
}

func httpClient(t testing.TB, c *Client, opts ...Option) *http.Client {
	hc := &http.Client{Transport: c.Transport(opts...)}
	t.Cleanup(hc.CloseIdleConnections)
	return hc
}

func ask(t testing.TB, hc *http.Client, method, body string) (string, error) {
	t.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(within(t), method, "http://exchange.cell/quote?symbol=X", r)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return string(answer), err
}

func TestTransportSpeaksBothVersionsOfHTTP(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serveHTTP(t, says("a")).seed())})
	for version, opts := range map[string][]Option{"HTTP/1.1": nil, "HTTP/2.0": {H2C()}} {
		hc := httpClient(t, c, opts...)
		for range 3 {
			if got, err := ask(t, hc, "POST", "body"); err != nil || got != "a "+version+" exchange.cell body" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
}

func TestTransportKeepsAConnectionAndCountsRequestsInFlight(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serveHTTP(t, says("a")).seed())})
	hc := httpClient(t, c)
	s, err := c.cell(within(t), "exchange")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := hc.Get("http://exchange.cell/")
	if err != nil {
		t.Fatal(err)
	}
	if n := s.refresh()[0].InFlight(); n != 1 {
		t.Errorf("%d in flight before the body is read", n)
	}
	io.Copy(io.Discard, resp.Body)
	if n := s.refresh()[0].InFlight(); n != 0 {
		t.Errorf("%d in flight after", n)
	}
	resp.Body.Close()
	if n := s.refresh()[0].InFlight(); n != 0 {
		t.Errorf("%d in flight after a Close", n)
	}
}

func TestAConnectionThatHasChangedItsProtocolEndsOneDirectionAtATime(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: words\r\n\r\n")
		all, _ := io.ReadAll(buffered)
		io.WriteString(conn, "heard "+string(all))
	}).seed())})
	req, err := http.NewRequestWithContext(within(t), http.MethodGet, "http://exchange.cell/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "words")
	resp, err := httpClient(t, c).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	up := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	if _, err := io.WriteString(up, "words"); err != nil {
		t.Fatal(err)
	}
	if err := up.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if answer, err := io.ReadAll(up); err != nil || string(answer) != "heard words" {
		t.Errorf("got %q, %v", answer, err)
	}
}

func TestTransportRefusesWhatIsNoURLOfACell(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t)})
	hc := httpClient(t, c)
	for _, url := range []string{"http://exchange/", "https://exchange.cell/", "http://127.0.0.1:80/"} {
		if _, err := hc.Get(url); err == nil || !strings.Contains(err.Error(), "is no URL of a cell") {
			t.Errorf("%s: %v", url, err)
		}
	}
	c = newClient(t, Config{Dir: consumer(t, dead(t))})
	var none *NoneError
	if _, err := ask(t, httpClient(t, c), "GET", ""); !errors.As(err, &none) {
		t.Errorf("nobody is live: %v", err)
	}
}

// A request that was sent is repeated if that does no harm, and only then.
func TestTransportRepeatsWhatItMay(t *testing.T) {
	var broken atomic.Int32
	bad := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		io.ReadAll(r.Body)
		broken.Add(1)
		panic(http.ErrAbortHandler)
	})
	good := serveHTTP(t, says("good"), bad)
	c := newClient(t, Config{Dir: consumer(t, seeds(bad, good)...)})
	hc := httpClient(t, c)
	await(t, c, "both", lists(bad, good))
	// sends reports whether a request went to the broken one. What is preferred lasts until the next probe is measured, so it
	// is asked again until it did.
	sends := func(method string, header http.Header) (got string, err error) {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			prefer(t, c, bad)
			before := broken.Load()
			req, reqErr := http.NewRequestWithContext(within(t), method, "http://exchange.cell/", strings.NewReader("body"))
			if reqErr != nil {
				t.Fatal(reqErr)
			}
			req.Header = header
			resp, err := hc.Do(req)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if broken.Load() > before {
				return string(body), err
			}
		}
		t.Fatal("the broken one was never asked")
		return "", nil
	}
	if got, err := sends("GET", http.Header{}); err != nil || !strings.HasPrefix(got, "good") {
		t.Errorf("GET: %q, %v", got, err)
	}
	if got, err := sends("POST", http.Header{}); err == nil {
		t.Errorf("a POST that was sent was repeated: %q", got)
	}
	if got, err := sends("POST", http.Header{"Idempotency-Key": {"1"}}); err != nil || !strings.HasSuffix(got, " body") {
		t.Errorf("a POST with an Idempotency-Key: %q, %v", got, err)
	}
}

// A gateway passes its clients' faults on; they are not those of the instances behind it.
func TestTransportBlamesNoInstanceForTheRequest(t *testing.T) {
	a := serveHTTP(t, says("a"))
	b := serveHTTP(t, says("b"), a)
	broke := errors.New("the upload broke off")
	requests := map[string]func(*http.Request){
		"header": func(r *http.Request) { r.Header.Set("X-Bad", "two\nlines") },
		"body": func(r *http.Request) {
			r.Header.Set("Idempotency-Key", "1") // so that it would be sent again
			r.GetBody = func() (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broke))), nil
			}
			r.Body, _ = r.GetBody()
		},
	}
	for version, opts := range map[string][]Option{"HTTP/1.1": nil, "HTTP/2.0": {H2C()}} {
		for fault, spoil := range requests {
			c := newClient(t, Config{Dir: consumer(t, seeds(a, b)...)})
			hc := httpClient(t, c, opts...)
			await(t, c, "both", lists(a, b))
			s, err := c.cell(within(t), "exchange")
			if err != nil {
				t.Fatal(err)
			}
			const sent = 12 // five failures in a row eject one of two
			for range sent {
				r, err := http.NewRequestWithContext(within(t), "POST", "http://exchange.cell/", nil)
				if err != nil {
					t.Fatal(err)
				}
				spoil(r)
				resp, err := hc.Do(r)
				if err == nil {
					resp.Body.Close()
					t.Errorf("%s over %s: answered %s", fault, version, resp.Status)
				}
				if fault == "body" && !errors.Is(err, broke) {
					t.Errorf("%s over %s: %v", fault, version, err)
				}
			}
			picked := 0
			for _, i := range s.refresh() {
				picked += int(i.Picked())
				if i.Ejected(time.Now()) {
					t.Errorf("%s over %s: an instance is put aside for it", fault, version)
				}
			}
			if picked != sent {
				t.Errorf("%s over %s: %d requests were sent %d times", fault, version, sent, picked)
			}
		}
	}
}

func TestWhatWasNotSentMayBeSentAgain(t *testing.T) {
	impatient := &notSentError{fmt.Errorf("patience: %w", context.Canceled)} // ours, not the caller's
	for _, test := range []struct {
		method string
		read   bool
		err    error
		want   bool
	}{
		{"POST", false, impatient, true},
		{"POST", true, impatient, false},
		{"GET", true, impatient, true},
		{"GET", false, context.Canceled, false},
		{"GET", false, io.ErrUnexpectedEOF, true},
		{"POST", false, io.ErrUnexpectedEOF, false},
	} {
		r, err := http.NewRequest(test.method, "http://exchange.cell/", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		p := newReplay(r)
		p.asked = true
		p.body.read.Store(test.read)
		if got := p.repeatable(test.err); got != test.want {
			t.Errorf("%s, read %v, %v: %v", test.method, test.read, test.err, got)
		}
	}
}

// An http.Transport closes a body that it does not need any more, though it may be read from just then.
func TestABodyThatWasClosedDidNotBreakOff(t *testing.T) {
	for _, closed := range []bool{false, true} {
		b := &lentBody{ReadCloser: io.NopCloser(iotest.ErrReader(io.ErrClosedPipe))}
		if closed {
			b.Close()
		}
		b.Read(make([]byte, 1))
		if b.broken() == closed {
			t.Errorf("closed %v, broken %v", closed, b.broken())
		}
	}
}

// An instance that drains waits until nobody is connected: connections that are only kept must not hold it up.
func TestTransportLetsGoOfAnInstanceThatDrains(t *testing.T) {
	for version, opts := range map[string][]Option{"HTTP/1.1": nil, "HTTP/2.0": {H2C()}} {
		t.Run(version, func(t *testing.T) {
			more := make(chan struct{})
			a := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				if r.Method == "POST" {
					<-more
				}
			})
			c := newClient(t, Config{Dir: consumer(t, a.seed())})
			hc := httpClient(t, c, opts...)
			drain := func(undo bool) {
				t.Helper()
				if err := a.Instance.Drain(undo); err != nil {
					t.Fatal(err)
				}
				await(t, c, "its state", func(l []find.Instance) bool { return len(l) == 1 && l[0].Usable() == undo })
			}
			if _, err := ask(t, hc, "GET", ""); err != nil {
				t.Fatal(err)
			}
			drain(false)
			if err := a.Instance.Drained(within(t)); err != nil {
				t.Fatalf("an idle connection: %v", err)
			}

			// One that is in use then goes when its call has ended, though others come to be kept meanwhile.
			drain(true)
			resp, err := hc.Post("http://exchange.cell/", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			b := serveHTTP(t, says("b"), a)
			await(t, c, "both", lists(a, b))
			if err := a.Instance.Drain(false); err != nil {
				t.Fatal(err)
			}
			await(t, c, "one drains", func(l []find.Instance) bool { return len(l) == 2 && !l[1].Usable() })
			for range 20 { // some of them when its idle connections have gone
				if got, err := ask(t, hc, "GET", ""); err != nil || !strings.HasPrefix(got, "b ") {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			close(more)
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if err := a.Instance.Drained(within(t)); err != nil {
				t.Errorf("a connection that was in use: %v", err)
			}
		})
	}
}

// prefer makes the next call go to one instance: all others have just been slow.
func prefer(t *testing.T, c *Client, i *instance) {
	t.Helper()
	s, err := c.cell(within(t), "exchange")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := s.tracker.Instances()
	ms := members(list)
	s.chooser.mu.Lock()
	s.chooser.set = choice.New(1) // with nothing learnt
	s.chooser.seen = s.tracker.Version()
	at := slices.IndexFunc(ms, func(m choice.Member) bool { return m.ID == string(i.Node.ID()) })
	if at < 0 {
		t.Fatal("it is not known")
	}
	ms[at].RTT = 1
	s.chooser.set.Update(ms, time.Now())
	s.chooser.mu.Unlock()
}

func TestTransportSendsWhatWasNotSentToAnother(t *testing.T) {
	gone := serveHTTP(t, says("gone"))
	good := serveHTTP(t, says("good"), gone)
	c := newClient(t, Config{Dir: consumer(t, seeds(gone, good)...), Only: []string{find.Seed}})
	hc := httpClient(t, c)
	await(t, c, "both", lists(gone, good))
	gone.Close()
	for range 4 {
		if got, err := ask(t, hc, "POST", "body"); err != nil || !strings.HasPrefix(got, "good") || !strings.HasSuffix(got, " body") {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// A generated package's own transport needs no host that names the cell.
func TestTransportToOneCellTakesAnyHost(t *testing.T) {
	c := newClient(t, Config{Dir: consumer(t, serveHTTP(t, says("a")).seed())})
	rt := newTransport(func() (*Client, error) { return c, nil }, nil)
	rt.only = "exchange"
	t.Cleanup(rt.CloseIdleConnections)
	for _, url := range []string{"http://exchange/", "http://127.0.0.1:80/", "http://other.cell/"} {
		resp, err := (&http.Client{Transport: rt}).Get(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if answer, err := io.ReadAll(resp.Body); err != nil || !strings.HasPrefix(string(answer), "a HTTP/1.1 "+resp.Request.URL.Host) {
			t.Errorf("%s: %q, %v", url, answer, err)
		}
		resp.Body.Close()
	}
	if len(rt.cells) != 1 {
		t.Errorf("%d pools of connections for one cell", len(rt.cells))
	}
	if _, err := (&http.Client{Transport: rt}).Get("https://exchange/"); err == nil || !strings.Contains(err.Error(), "write http://") {
		t.Errorf("https: %v", err)
	}
}
