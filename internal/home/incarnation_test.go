package home

import (
	"bytes"
	"log/slog"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestIncarnationIsTheClockOrMore(t *testing.T) {
	d := open(t)
	synctest.Test(t, func(t *testing.T) {
		key := take(t, d, "exchange")
		first := incarnation(t, key, 0)
		if want := uint64(time.Now().UnixMilli()); first != want {
			t.Errorf("first incarnation %d, want the clock's %d", first, want)
		}
		if second := incarnation(t, key, 0); second != first+1 {
			t.Errorf("restart within the millisecond: %d, want %d", second, first+1)
		}
		time.Sleep(time.Hour)
		if third := incarnation(t, key, 0); third != uint64(time.Now().UnixMilli()) {
			t.Errorf("restart an hour later: %d, want the clock's", third)
		}
	})
}

func TestIncarnationSurvivesAClockThatGoesBack(t *testing.T) {
	d := open(t)
	key := take(t, d, "exchange")
	future := uint64(time.Now().Add(24 * time.Hour).UnixMilli())
	if got := incarnation(t, key, future); got != future+1 {
		t.Fatalf("above %d: got %d", future, got)
	}
	key.Close()
	again := take(t, d, "exchange")
	if got := incarnation(t, again, 0); got != future+2 {
		t.Errorf("after the restart: %d, want %d", got, future+2)
	}
}

func TestIncarnationsOnlyGrow(t *testing.T) {
	d := open(t)
	key := take(t, d, "exchange")
	rapid.Check(t, func(rt *rapid.T) {
		last := uint64(0)
		for _, above := range rapid.SliceOfN(rapid.Uint64Range(0, 1<<50), 1, 5).Draw(rt, "above") {
			got, err := key.Incarnation(above, nil)
			if err != nil {
				rt.Fatal(err)
			}
			if got <= last || got <= above {
				rt.Fatalf("%d follows %d with above = %d", got, last, above)
			}
			last = got
		}
		if err := os.Remove(key.incarnations); err != nil {
			rt.Fatal(err)
		}
	})
}

// A file that a disk has damaged is kept aside and said once; the life goes on by the clock.
func TestDamagedIncarnationIsMovedAside(t *testing.T) {
	for _, text := range []string{"", "soon", "-1", "99999999999999999999", strconv.FormatUint(math.MaxUint64, 10), strings.Repeat("1", 33)} {
		d := open(t)
		key := take(t, d, "exchange")
		if err := os.WriteFile(key.incarnations, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		first, err := key.Incarnation(0, log)
		if clock := uint64(time.Now().UnixMilli()); err != nil || first > clock || first < clock-60_000 {
			t.Errorf("%q: %d, %v; want the clock", text, first, err)
		}
		if second, err := key.Incarnation(0, log); err != nil || second <= first {
			t.Errorf("%q: %d after %d, %v", text, second, first, err)
		}
		if n := strings.Count(said.String(), key.incarnations+".bad"); n != 1 {
			t.Errorf("%q: said %d times:\n%s", text, n, &said)
		}
		if kept, err := os.ReadFile(key.incarnations + ".bad"); err != nil || string(kept) != text {
			t.Errorf("%q: kept %q, %v", text, kept, err)
		}
	}
}

// What is no file of one's own is not damage but a fault of whoever put it there.
func TestIncarnationThatIsNoFileIsAnError(t *testing.T) {
	d := open(t)
	key := take(t, d, "exchange")
	if err := os.Mkdir(key.incarnations, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := key.Incarnation(0, nil)
	wantError(t, err, key.incarnations, "a directory, not a file", "move it away")
}

func incarnation(t *testing.T, key *Key, above uint64) uint64 {
	t.Helper()
	n, err := key.Incarnation(above, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
