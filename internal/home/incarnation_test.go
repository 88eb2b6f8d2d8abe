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

	"github.com/cellnode/cellnode/internal/record"
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

// A clock that goes back a little leaves the order to the stored number. A number that others refuse is let go.
func TestIncarnationSurvivesAClockThatGoesBack(t *testing.T) {
	const most = uint64(record.MaxClockAhead / time.Millisecond)
	for _, c := range []struct {
		ahead uint64 // of the clock: the number stored, in milliseconds
		kept  bool
	}{{1, true}, {60_000, true}, {most - 1, true}, {most + 1, false}, {24 * 3600_000, false}, {1 << 62, false}} {
		d := open(t)
		synctest.Test(t, func(t *testing.T) {
			clock := uint64(time.Now().UnixMilli())
			key := take(t, d, "exchange")
			if got := incarnation(t, key, clock+c.ahead-1); got != clock+c.ahead {
				t.Fatalf("above %d: got %d", clock+c.ahead-1, got)
			}
			key.Close()
			want, warnings := clock, 1
			if c.kept {
				want, warnings = clock+c.ahead+1, 0
			}
			var said bytes.Buffer
			log := slog.New(slog.NewTextHandler(&said, nil))
			again := take(t, d, "exchange")
			for n := range uint64(2) { // what was let go does not come back
				if got, err := again.Incarnation(0, log); err != nil || got != want+n {
					t.Errorf("%d ms ahead, restart %d: %d, %v; want %d", c.ahead, n+1, got, err, want+n)
				}
			}
			if n := strings.Count(said.String(), "level=WARN"); n != warnings {
				t.Errorf("%d ms ahead: said %d times, want %d:\n%s", c.ahead, n, warnings, &said)
			}
		})
	}
}

func TestIncarnationsOnlyGrow(t *testing.T) {
	d := open(t)
	key := take(t, d, "exchange")
	most := incarnationAt(time.Now().Add(record.Leeway))
	rapid.Check(t, func(rt *rapid.T) {
		last := uint64(0)
		for _, above := range rapid.SliceOfN(rapid.Uint64Range(0, most), 1, 5).Draw(rt, "above") {
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
