package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cellnode/cellnode/manifest"
)

const (
	wantedProto = `syntax = "proto3"; package acme.v1; service Exchange { rpc Quote(M) returns (M); } message M { string s = 1; }`
	addingProto = `syntax = "proto3"; package acme.v1; service Exchange { rpc Quote(M) returns (M); rpc Trade(M) returns (M); } message M { string s = 1; }`
	losingProto = `syntax = "proto3"; package acme.v1; service Exchange { rpc Trade(M) returns (M); } message M { string s = 1; }`
)

// interfaceOf is that of one .proto file: its fingerprint, and what an instance sends of it.
func interfaceOf(t *testing.T, text string) (set manifest.InterfaceSet, data []byte) {
	t.Helper()
	set, err := manifest.CompileSet(map[string][]byte{"a.proto": []byte(text)}, []string{"a.proto"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = set.Marshal(); err != nil {
		t.Fatal(err)
	}
	return set, data
}

// comparer compares for a consumer whose generated package wants wantedProto.
func comparer(t *testing.T) (c cellInterfaces, wanted string) {
	t.Helper()
	set, _ := interfaceOf(t, wantedProto)
	return cellInterfaces{newClient(t, Config{}), &Resolved{Interface: func() (manifest.InterfaceSet, error) { return set, nil }}}, set.Fingerprint()
}

// sending is an instance that sends this, and counts how often.
func sending(data []byte, err error) (fetch func(context.Context) ([]byte, error), count *atomic.Int32) {
	count = new(atomic.Int32)
	return func(context.Context) ([]byte, error) {
		count.Add(1)
		return data, err
	}, count
}

func TestAnOfferedInterfaceIsFetchedAndComparedOnce(t *testing.T) {
	c, wanted := comparer(t)
	for text, lacks := range map[string]string{addingProto: "", losingProto: "method acme.v1.Exchange.Quote is gone"} {
		offered, data := interfaceOf(t, text)
		fetch, fetched := sending(data, nil)
		for range 3 {
			err := c.Compare(t.Context(), wanted, offered.Fingerprint(), fetch)
			var incompatible *manifest.IncompatibleError
			switch {
			case lacks == "" && err != nil:
				t.Errorf("what adds is refused: %v", err)
			case lacks != "" && (!errors.As(err, &incompatible) || !strings.Contains(err.Error(), lacks)):
				t.Errorf("got %v, want %q", err, lacks)
			}
		}
		if fetched.Load() != 1 {
			t.Errorf("fetched %d times", fetched.Load())
		}
	}
	// The next process on this machine need not ask, either.
	again := cellInterfaces{newClient(t, Config{Home: c.home.Path()}), c.Resolved}
	offered, _ := interfaceOf(t, addingProto)
	fetch, fetched := sending(nil, errors.New("asked"))
	if err := again.Compare(t.Context(), wanted, offered.Fingerprint(), fetch); err != nil || fetched.Load() != 0 {
		t.Errorf("%v, fetched %d times", err, fetched.Load())
	}
}

// What an instance hands over is held to the fingerprint that its signed record names; who sends something else has shown
// nothing, and the next one with that interface is asked again.
func TestAForgedInterfaceShowsNothing(t *testing.T) {
	c, wanted := comparer(t)
	losing, _ := interfaceOf(t, losingProto)
	_, adding := interfaceOf(t, addingProto)
	for name, sent := range map[string]struct {
		data []byte
		err  error
		want string
	}{
		"another interface": {data: adding, want: "is not the interface that it names in its record"},
		"the wanted one":    {data: func() []byte { _, data := interfaceOf(t, wantedProto); return data }(), want: "is not the interface that it names in its record"},
		"rubbish":           {data: []byte("\xff\xff\xff"), want: "interface set"},
		"nothing":           {data: nil, want: "is not the interface that it names in its record"},
		"too much":          {data: make([]byte, manifest.MaxInterfaceSet+1), want: "at most"},
		"no answer":         {err: errors.New("the stream ended"), want: "the stream ended"},
	} {
		fetch, _ := sending(sent.data, sent.err)
		err := c.Compare(t.Context(), wanted, losing.Fingerprint(), fetch)
		if err == nil || !strings.Contains(err.Error(), "the offered interface cannot be had to compare them") || !strings.Contains(err.Error(), sent.want) {
			t.Errorf("%s: got %v, want %q", name, err, sent.want)
		}
		if errors.As(err, new(*manifest.IncompatibleError)) {
			t.Errorf("%s counts as compared: %v", name, err)
		}
	}
	_, data := interfaceOf(t, losingProto)
	honest, _ := sending(data, nil)
	if err := c.Compare(t.Context(), wanted, losing.Fingerprint(), honest); !errors.As(err, new(*manifest.IncompatibleError)) {
		t.Errorf("after the forgeries: %v", err)
	}
}

// In an open cell anybody may offer interfaces without end.
func TestManyInterfacesAreForgotten(t *testing.T) {
	c, wanted := comparer(t)
	for i := range 2*maxVerdicts + 1 {
		c.verdicts.put(comparison{wanted, fmt.Sprint(i)}, nil)
	}
	if n := len(c.verdicts.of); n > maxVerdicts {
		t.Errorf("%d are remembered", n)
	}
}

func TestAFewInterfacesAreComparedAtATime(t *testing.T) {
	c, wanted := comparer(t)
	_, data := interfaceOf(t, addingProto)
	offered, _ := interfaceOf(t, addingProto)
	synctest.Test(t, func(t *testing.T) {
		c := cellInterfaces{&Client{log: c.log}, c.Resolved}
		c.verdicts.slots = make(chan struct{}, maxComparing)
		var at atomic.Int32
		held := make(chan struct{})
		slow := func(context.Context) ([]byte, error) {
			at.Add(1)
			<-held
			at.Add(-1)
			return data, nil
		}
		ended := make(chan error, 3*maxComparing)
		for range cap(ended) {
			go func() { ended <- c.Compare(t.Context(), wanted, offered.Fingerprint(), slow) }()
		}
		synctest.Wait()
		if at.Load() != maxComparing {
			t.Errorf("%d are compared at once, want %d", at.Load(), maxComparing)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Compare(ctx, wanted, offered.Fingerprint(), slow); !errors.Is(err, context.Canceled) {
			t.Errorf("one that has been given up waits: %v", err)
		}
		close(held)
		for range cap(ended) {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}
