package link

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cellnode/cellnode/internal/link/linkpb"
	"github.com/cellnode/cellnode/manifest"
)

func TestAnInterfaceComesInAsManyPartsAsItTakes(t *testing.T) {
	data := bytes.Repeat([]byte("interface"), manifest.MaxInterfaceSet/9)
	in := serve(t, &handler{tells: data})
	d := newDialer(t)
	for range 2 { // the second time on the connection of the first
		got, err := d.Interface(t.Context(), in.target(in.tcp), hello)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes of %d, %v", len(got), len(data), err)
		}
	}
	if n := in.tcpConns.n.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	if _, err := d.Interface(t.Context(), serve(t, &handler{}).target(), hello); !errors.Is(err, ErrNoInterface) {
		t.Errorf("of one that states none: %v", err)
	}
}

// What would never end, or is too large, ends where that is known.
func TestPartsWithoutEndAreRefused(t *testing.T) {
	var large, empty bytes.Buffer
	for range manifest.MaxInterfaceSet/(200<<10) + 1 {
		if err := writeFrame(&large, &linkpb.Part{Data: make([]byte, 200<<10), More: true}, maxListFrame); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFrame(&empty, &linkpb.Part{More: true}, maxListFrame); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*bytes.Buffer{"too large": &large, "empty": &empty} {
		if _, err := readParts(r); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
