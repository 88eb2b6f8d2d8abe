package home

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	cidA = "bafkreigsg5iw3ytpbes6mojygbtq35uzvaoisiwcji6zsezwz25augaqtm"
	cidB = "bafkreiazfcmu7svvr7oozp4mts66cqezc6oiksb3ufjimi6v7aw53bcogi"
)

func claim(t *testing.T, d *Dir, name, cid string) *Registration {
	t.Helper()
	r, err := d.Claim(name, cid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestNamesGoToTheFirstAndOthersStandBeside(t *testing.T) {
	d := open(t)
	steps := []struct{ name, cid, want string }{
		{"exchange", cidA, "exchange"},
		{"exchange", cidA, "exchange.1"},
		{"exchange", cidB, "exchange@w53bcogi"},
		{"exchange", cidB, "exchange@w53bcogi.1"},
		{"exchange", cidA, "exchange.2"},
		{"cellnode", cidA, "cellnode@5augaqtm"},
	}
	for _, step := range steps {
		if got := claim(t, d, step.name, step.cid).Base(); got != step.want {
			t.Errorf("%s of %s got %s, want %s", step.name, step.cid, got, step.want)
		}
	}
}

func TestRunningListsWhatIsPublishedUntilItCloses(t *testing.T) {
	d := open(t)
	want := Running{
		Name: "exchange", Cell: "git.example.org/acme/exchange@v1.3.0", CID: cidA, Peer: "12D3", Commit: "c0ffee",
		Fingerprint: "f00d", PID: 7, Socket: "unix:/x.sock", API: "/api.sock", Since: time.Unix(1700000000, 0).UTC(),
	}
	r := claim(t, d, "exchange", cidA)
	if list, err := d.Running(); err != nil || len(list) != 0 {
		t.Fatalf("before Publish: %v, %v", list, err)
	}
	if err := r.Publish(want); err != nil {
		t.Fatal(err)
	}
	list, err := d.Running()
	if err != nil || len(list) != 1 || list[0] != want {
		t.Fatalf("published %+v\nlisted %+v, %v", want, list, err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := d.Running(); err != nil || len(list) != 0 {
		t.Errorf("after Close: %v, %v", list, err)
	}
	if _, err := os.Stat(d.Path("run", "exchange.json")); !os.IsNotExist(err) {
		t.Errorf("run/exchange.json is still there: %v", err)
	}
}

func TestRegistrationOfAKilledProcessIsNotListed(t *testing.T) {
	d := open(t)
	process, _ := startHolder(t, d.Path())
	list, err := d.Running()
	if err != nil || len(list) != 1 || list[0].PID != process.Pid || list[0].Since.IsZero() {
		t.Fatalf("listed %+v, %v; want process %d", list, err, process.Pid)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Running(); err != nil || len(list) != 0 {
		t.Errorf("after its death: %+v, %v", list, err)
	}
	if r := claim(t, d, "exchange", cidA); r.Base() != "exchange" {
		t.Errorf("its name was not free: got %s", r.Base())
	}
}

func TestWhatAKilledProcessHadBegunToWriteGoesWithTheNextClaim(t *testing.T) {
	d := open(t)
	claim(t, d, "exchange", cidA).Close()
	left := d.Path("run", ".exchange.json.tmp-344876833")
	if err := os.WriteFile(left, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	claim(t, d, "exchange", cidA)
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}

func TestRunningOfNothingIsEmpty(t *testing.T) {
	if list, err := open(t).Running(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestDamagedRegistrationsHideNoOther(t *testing.T) {
	d := open(t)
	for _, name := range []string{"bad", "big", "good"} {
		if err := claim(t, d, name, cidA).Publish(Running{Name: name, Socket: "unix:/x"}); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"bad": "{", "big": strings.Repeat(" ", maxRunning+1)} {
		if err := os.WriteFile(d.Path("run", name+".json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.Running()
	if len(list) != 1 || list[0].Name != "good" {
		t.Errorf("listed %+v, want good alone", list)
	}
	for _, name := range []string{"bad.json", "big.json"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
}

func TestRegisterFillsInProcessAndTime(t *testing.T) {
	d := open(t)
	r, err := d.Register(Running{Name: "exchange", CID: cidA, Socket: "tcp:127.0.0.1:7000"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := d.Running()
	if err != nil || len(list) != 1 || list[0].PID != os.Getpid() || time.Since(list[0].Since) > time.Minute {
		t.Errorf("listed %+v, %v", list, err)
	}
}

// Whoever lists takes every lock for a moment; that must not make a name look taken.
func TestListingNeverTakesANameAway(t *testing.T) {
	d := open(t)
	r := claim(t, d, "exchange", cidA)
	if err := r.Publish(Running{Name: "exchange", CID: cidA, Socket: "unix:/x"}); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, _ = held(d.Path("run", "exchange.lock"))
				}
			}
		})
	}
	for range 50 {
		r.Close()
		if r = claim(t, d, "exchange", cidA); r.Base() != "exchange" {
			t.Errorf("a free name was refused: got %s", r.Base())
			break
		}
	}
	close(stop)
	group.Wait()
}

func TestSocketOfARegistrationIsFreeToListenOn(t *testing.T) {
	d := open(t)
	r := claim(t, d, "exchange", cidA)
	path, err := r.Socket()
	if err != nil {
		t.Fatal(err)
	}
	if want := d.Path("run", "exchange.sock"); len(want) <= maxSocketPath && path != want {
		t.Errorf("socket %s, want %s", path, want)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Socket(); !errors.Is(err, ErrHeld) {
		t.Errorf("a socket that is answered: %v, want ErrHeld", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as a service that is killed
	ln.Close()
	if _, err := r.Socket(); err != nil {
		t.Errorf("a stale socket stays in the way: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = r.Socket()
	wantError(t, err, path, "move it away")
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(d.Path("run", "exchange*.json")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
