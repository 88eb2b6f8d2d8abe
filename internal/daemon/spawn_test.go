package daemon

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fakeSpawner answers as its functions do.
type fakeSpawner struct {
	spawn func(ctx context.Context, q SpawnQuery, progress func(string)) (Spawned, error)
	stop  func(peer string) error
}

func (f fakeSpawner) Spawn(ctx context.Context, q SpawnQuery, progress func(string)) (Spawned, error) {
	return f.spawn(ctx, q, progress)
}

func (f fakeSpawner) Stop(_ context.Context, peer string) error { return f.stop(peer) }

func TestASpawnTellsItsStepsAndItsEnd(t *testing.T) {
	want := SpawnQuery{Repository: "https://git.acme.com/exchange", Tag: "v1", Commit: "c0ffee", Path: "/src", NoSandbox: true, Binary: "rebuild", Share: true, ReadyMillis: 7}
	answer := Spawned{Name: "exchange", Peer: "12D3KooW", Socket: "/run/s", Steps: []Step{{"fetch", 12.5}, {"build", 7}}}
	var fail error
	_, c := serve(t, ServerConfig{Spawner: fakeSpawner{spawn: func(_ context.Context, q SpawnQuery, progress func(string)) (Spawned, error) {
		if q != want {
			t.Errorf("asked for %+v, want %+v", q, want)
		}
		progress("fetch")
		progress("build")
		return answer, fail
	}}})
	var steps []string
	got, err := c.Spawn(t.Context(), want, func(step string) { steps = append(steps, step) })
	if err != nil || !reflect.DeepEqual(got, answer) || !slices.Equal(steps, []string{"fetch", "build"}) {
		t.Errorf("%+v after %q: %v", got, steps, err)
	}
	fail = &Error{Message: "spawn: no sandbox here", Code: 3}
	_, err = c.Spawn(t.Context(), want, nil)
	if e, ok := errors.AsType[*Error](err); !ok || *e != (Error{Message: "spawn: no sandbox here", Code: 3}) {
		t.Errorf("got %#v", err)
	}
	fail = errors.New("the disk is full")
	_, err = c.Spawn(t.Context(), want, nil)
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != codeUnreachable || e.Message != "the disk is full" {
		t.Errorf("got %#v", err)
	}
}

func TestASpawnEndsWhenItsAskerHasGone(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	_, c := serve(t, ServerConfig{Spawner: fakeSpawner{spawn: func(ctx context.Context, _ SpawnQuery, progress func(string)) (Spawned, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return Spawned{}, ctx.Err()
	}}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := c.Spawn(ctx, SpawnQuery{Repository: "https://git.acme.com/exchange", Tag: "v1"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the spawner was told %v", err)
	}
}

func TestAStopNamesItsInstance(t *testing.T) {
	var stopped string
	_, c := serve(t, ServerConfig{Spawner: fakeSpawner{stop: func(peer string) error {
		stopped = peer
		if peer == "nobody" {
			return &Error{Message: "spawn: nobody does not run", Code: codeUsage}
		}
		return nil
	}}})
	if err := c.Stop(t.Context(), "12D3KooW"); err != nil || stopped != "12D3KooW" {
		t.Errorf("stopped %q: %v", stopped, err)
	}
	if e, ok := errors.AsType[*Error](c.Stop(t.Context(), "nobody")); !ok || e.Code != codeUsage {
		t.Errorf("got %#v", e)
	}
}

func TestSpawnsThatCannotBeMeantAreRefused(t *testing.T) {
	_, none := serve(t, ServerConfig{})
	_, some := serve(t, ServerConfig{Spawner: fakeSpawner{}}) // it is never asked
	for _, tt := range []struct {
		c                *Client
		path, body, want string
	}{
		{none, "/v1/spawn", `{"repository": "https://git.acme.com/exchange", "tag": "v1"}`, "cellnode daemon start"},
		{none, "/v1/stop", `{"peer": "12D3KooW"}`, "cellnode daemon start"},
		{some, "/v1/spawn", `{"repository": "https://git.acme.com/exchange", "tag": "v1", "path": "src"}`, `path "src" is not absolute`},
		{some, "/v1/spawn", `{"repo": "x"}`, `unknown field "repo"`},
		{some, "/v1/stop", `{"peer": 7}`, "peer"},
	} {
		status, answer := post(t, tt.c, tt.path, tt.body)
		if e := decodeError(t, answer); status != http.StatusBadRequest || e.Code != codeUsage || !strings.Contains(e.Message, tt.want) {
			t.Errorf("%s %s: %d %+v, want %q", tt.path, tt.body, status, e, tt.want)
		}
	}
}
