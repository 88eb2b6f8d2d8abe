package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMalformedQueriesAreRefusedInOneLine(t *testing.T) {
	_, c := serve(t, ServerConfig{}) // the node is never asked
	for body, want := range map[string]string{
		"":                          "EOF",
		"{":                         "unexpected EOF",
		"[]":                        "array",
		"nil":                       "invalid character",
		`{"tag": 1}`:                "tag",
		`{"onyl": ["dht"]}`:         `unknown field "onyl"`,
		`{"timeout_ms": "5s"}`:      "timeout_ms",
		`{"tag": "v1"} {"tag": ""}`: "something follows it",
		`{"tag": "v1"}}`:            "invalid character",
	} {
		for _, path := range []string{"/v1/find", "/v1/watch"} {
			status, answer := post(t, c, path, body)
			e := decodeError(t, answer)
			if status != http.StatusBadRequest || e.Code != 2 || !strings.Contains(e.Message, want) || strings.Contains(e.Message, "\n") {
				t.Errorf("%s %q: %d %+v, want one line with %q and code 2", path, body, status, e, want)
			}
		}
	}
}

func TestAnOversizedQueryIsRefused(t *testing.T) {
	_, c := serve(t, ServerConfig{})
	status, answer := post(t, c, "/v1/find", `{"tag": "`+strings.Repeat("x", maxQuery)+`"}`)
	if e := decodeError(t, answer); status != http.StatusBadRequest || e.Code != 2 || !strings.Contains(e.Message, "1048576 bytes") {
		t.Errorf("%d %+v, want the limit", status, e)
	}
}

func TestAnUnknownRouteIsNamed(t *testing.T) {
	_, c := serve(t, ServerConfig{})
	for _, path := range []string{"/v9/find", "/", "/v1/status"} { // the last one is not for POST
		status, answer := post(t, c, path, "{}")
		if e := decodeError(t, answer); status != http.StatusNotFound || e.Code != 2 || !strings.Contains(e.Message, "POST "+path+":") {
			t.Errorf("%s: %d %+v", path, status, e)
		}
	}
}

func TestErrorCodesAreCarriedAcross(t *testing.T) {
	var fail error
	_, c := serve(t, ServerConfig{Node: fakeNode{
		find:  func(context.Context, Query) (Reply, error) { return Reply{}, fail },
		watch: func(context.Context, Query, func(Reply) error) error { return fail },
	}})
	fails := map[error]int{errors.New("the node is closed"): 4}
	for code := 1; code <= 5; code++ {
		fails[fmt.Errorf("overlay: %w", &Error{fmt.Sprintf("for reason %d", code), code})] = code
	}
	for err, code := range fails {
		fail = err
		_, found := c.Find(t.Context(), Query{})
		watched := c.Watch(t.Context(), Query{}, func(Reply) error { return nil })
		for _, got := range []error{found, watched} {
			var e *Error
			if !errors.As(got, &e) || e.Code != code || !strings.Contains(err.Error(), e.Message) {
				t.Errorf("%v came as %#v, want code %d", err, got, code)
			}
		}
	}
}

func TestAQueryReachesTheNodeWhole(t *testing.T) {
	want := Query{
		Repository: "https://example.org/acme/exchange", Tag: "v1.3.0", Commit: "ab", Fingerprint: "cd",
		Seeds: []Seed{{"12D3", []string{"/ip4/192.0.2.7/udp/40000/quic-v1"}}}, Only: []string{"dht"}, TimeoutMS: 100,
	}
	reply := Reply{Cell: "c", CID: "b", Instances: []Instance{{Peer: "p", Sources: []string{"dht"}, Record: []byte{1}}}, Settled: true}
	var got Query
	_, c := serve(t, ServerConfig{Node: fakeNode{
		find:   func(_ context.Context, q Query) (Reply, error) { got = q; return reply, nil },
		status: func() Status { return Status{Peer: "p", Notes: []string{"n"}} },
	}})
	answer, err := c.Find(t.Context(), want)
	if err != nil || asJSON(t, got) != asJSON(t, want) || asJSON(t, answer) != asJSON(t, reply) {
		t.Errorf("sent %+v, the node got %+v; it said %+v, came %+v, %v", want, got, reply, answer, err)
	}
	if s, err := c.Status(t.Context()); err != nil || s.Peer != "p" || len(s.Notes) != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
}

func TestAFindHasTheTimeThatItsQueryNames(t *testing.T) {
	for query, want := range map[string]time.Duration{
		`{}`:                     5 * time.Second,
		`{"timeout_ms": 300}`:    300 * time.Millisecond,
		`{"timeout_ms": -1}`:     5 * time.Second,
		`{"timeout_ms": 999999}`: 5 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			h := Handler(fakeNode{find: func(ctx context.Context, _ Query) (Reply, error) {
				<-ctx.Done()
				return Reply{Cell: "what is known by then"}, nil
			}}, nil)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/find", strings.NewReader(query)))
			if took := time.Since(start); took != want || !strings.Contains(w.Body.String(), "what is known") {
				t.Errorf("%s took %v, want %v; answer %s", query, took, want, w.Body)
			}
		})
	}
}

func FuzzQuery(f *testing.F) {
	f.Add(`{"repository":"https://example.org/acme/exchange","tag":"v1.3.0","seeds":[{"peer":"12D3","addrs":["/ip4/1.2.3.4/tcp/1/tls"]}],"only":["dht"]}`)
	f.Add(`{"timeout_ms":1e99}`)
	f.Add(`{"seeds":null}null`)
	f.Fuzz(func(t *testing.T, body string) {
		h := Handler(fakeNode{find: func(_ context.Context, q Query) (Reply, error) {
			ParseSeeds(q.Seeds)
			return Reply{}, nil
		}}, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/find", strings.NewReader(body)))
		if w.Code == http.StatusOK {
			return
		}
		if e := decodeError(t, w.Body.String()); w.Code != http.StatusBadRequest || e.Code != 2 || strings.Contains(e.Message, "\n") {
			t.Errorf("%q: %d %+v", body, w.Code, e)
		}
	})
}

func decodeError(t *testing.T, answer string) (e Error) {
	t.Helper()
	if err := json.Unmarshal([]byte(answer), &e); err != nil {
		t.Errorf("%q is no error of the API: %v", answer, err)
	}
	return e
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
