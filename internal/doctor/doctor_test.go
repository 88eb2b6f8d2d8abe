package doctor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cellnode/cellnode/internal/daemon"
	"github.com/cellnode/cellnode/internal/home"
)

// root makes a file system of a machine.
func root(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func want(t *testing.T, got []Finding, level Level, text, remedy string) {
	t.Helper()
	for _, f := range got {
		if f.Level == level && strings.Contains(f.Text, text) && strings.Contains(f.Remedy, remedy) {
			return
		}
	}
	t.Errorf("no %s with %q and the remedy %q in %+v", level, text, remedy, got)
}

func TestFirewallIsOpenedWithItsOwnCommand(t *testing.T) {
	const on, allow = "# comment\nENABLED=yes\nLOGLEVEL=low\n", "*filter\n### tuple ### allow udp 40000 0.0.0.0/0 any 0.0.0.0/0 in\n"
	cases := []struct {
		name         string
		files        map[string]string
		listen       []string
		level        Level
		text, remedy string
	}{
		{"none", nil, nil, Unknown, "neither ufw nor firewalld", "sudo ufw allow 40000/udp"},
		{"ufw off", map[string]string{"etc/ufw/ufw.conf": "ENABLED=no\n"}, nil, Unknown, "neither ufw", "sudo ufw allow 40000/udp"},
		{"shut", map[string]string{"etc/ufw/ufw.conf": on, "etc/ufw/user.rules": "*filter\n"}, nil, Error, "no rule of it lets UDP 40000 in", "sudo ufw allow 40000/udp"},
		{"open", map[string]string{"etc/ufw/ufw.conf": on, "etc/ufw/user.rules": allow}, nil, OK, "lets UDP 40000 in", ""},
		{"another port", map[string]string{"etc/ufw/ufw.conf": on, "etc/ufw/user.rules": allow}, []string{"/ip4/0.0.0.0/udp/40001/quic-v1"}, Error, "40001", "sudo ufw allow 40001/udp"},
		{"unreadable", map[string]string{"etc/ufw/ufw.conf": on}, nil, Unknown, "cannot be read", "sudo ufw allow 40000/udp"},
		{"firewalld", map[string]string{"run/firewalld/x": ""}, nil, Unknown, "firewalld", "firewall-cmd --permanent --add-port=40000/udp"},
	}
	for _, c := range cases {
		m := &machine{Config: Config{Root: root(t, c.files), Config: home.Config{Listen: c.listen}}}
		t.Run(c.name, func(t *testing.T) { want(t, firewall(t.Context(), m), c.level, c.text, c.remedy) })
	}
}

func TestClocksAreComparedToTheSecond(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for off, level := range map[time.Duration]Level{
		0: OK, 2 * time.Second: OK, -time.Minute: OK, 90 * time.Second: Warning, -2 * time.Minute: Warning, 10 * time.Minute: Error, -10 * time.Minute: Error,
	} {
		f := skew("host", now, now.Add(50*time.Millisecond), now.Add(-off))
		if f.Level != level || (f.Remedy == "") != (level == OK) {
			t.Errorf("%v off: got %+v", off, f)
		}
		if level != OK && strings.Contains(f.Text, "ahead of") != (off > 0) {
			t.Errorf("%v off: got %+v", off, f)
		}
	}
}

func TestAHostsClockIsInItsAnswer(t *testing.T) {
	there := time.Now().Add(-time.Hour).Truncate(time.Second)
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", there.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
	}))
	defer host.Close()
	got, err := hostTime(t.Context(), host.URL+"/acme/exchange")
	if err != nil || !got.Equal(there) {
		t.Errorf("got %v, %v; want %v", got, err, there)
	}
}

func TestNATAndWayInAreToldAsFarAsTheyAreKnown(t *testing.T) {
	const public, private = "/ip4/8.8.8.8/udp/40000/quic-v1", "/ip4/10.0.0.1/udp/40000/quic-v1"
	if _, known := natOf(daemon.Status{NAT: daemon.NATStatus{UDP: daemon.NATUnknown}}, 40000); known {
		t.Error("an unknown NAT is known")
	}
	f, _ := natOf(daemon.Status{NAT: daemon.NATStatus{UDP: daemon.NATDependent}}, 40000)
	want(t, []Finding{f}, Warning, "symmetric", "forward UDP 40000")
	f, _ = natOf(daemon.Status{NAT: daemon.NATStatus{UDP: daemon.NATIndependent}}, 40000)
	want(t, []Finding{f}, OK, "hole punching", "")
	want(t, []Finding{inward(daemon.Status{Addrs: []string{private}}, 40000)}, Unknown, "no public UDP address", "sudo ufw allow 40000/udp")
	want(t, []Finding{inward(daemon.Status{Addrs: []string{public, private}}, 40000)}, Warning, "nobody has confirmed", "sudo ufw allow 40000/udp")
	confirmed := daemon.NATStatus{Confirmed: []string{public}}
	want(t, []Finding{inward(daemon.Status{Addrs: []string{public, private}, NAT: confirmed}, 40000)}, OK, "others have reached it", "")
}

func TestEachStateOfAKeyHasItsFinding(t *testing.T) {
	now := time.Now()
	cases := []struct {
		a            *daemon.Announced
		level        Level
		text, remedy string
	}{
		{nil, Warning, "the DHT is switched off", "dht = true"},
		{&daemon.Announced{Error: "dht: no peer took the record"}, Error, "no peer took", "bootstrap"},
		{&daemon.Announced{Alone: true}, Warning, "no other node", "bootstrap"},
		{&daemon.Announced{ByOthers: true}, OK, "by other members", ""},
		{&daemon.Announced{}, Unknown, "being announced", ""},
		{&daemon.Announced{Last: now, Next: now.Add(time.Minute), Replicas: 7}, Warning, "could not be read back", "look again"},
		{&daemon.Announced{Last: now, Replicas: 7, ReadBack: true}, OK, "announced to 7 nodes and read back", ""},
	}
	for _, c := range cases {
		want(t, []Finding{announcedKey(daemon.CellStatus{Cell: "host/echo@v1", State: "serving", Members: 1, Announced: c.a})}, c.level, c.text, c.remedy)
	}
}

func TestPortsThatCannotBeHadAreTold(t *testing.T) {
	for err, level := range map[error]Level{nil: OK, syscall.EADDRINUSE: Warning, syscall.EAFNOSUPPORT: Warning, syscall.EACCES: Error} {
		if f := portFinding("UDP", "/ip4/0.0.0.0/udp/40000/quic-v1", 40000, err); f.Level != level || (f.Remedy == "") != (err == nil) {
			t.Errorf("%v: got %+v", err, f)
		}
	}
	m := &machine{Config: Config{Nodes: []daemon.Status{{Peer: "p"}, {Peer: "q", Listen: []string{"/ip4/0.0.0.0/tcp/40000/tls"}}}}}
	want(t, ports(t.Context(), m), Warning, "node p listens nowhere", "set listen")
	want(t, ports(t.Context(), m), Warning, "node q has no UDP port", "/udp/40000/quic-v1")
}

func TestSmallLimitsAreTold(t *testing.T) {
	m := &machine{Config: Config{Root: root(t, map[string]string{"proc/sys/net/core/rmem_max": "212992\n", "proc/sys/net/core/wmem_max": "8388608\n"})}}
	got := limits(t.Context(), m)
	want(t, got, Warning, "net.core.rmem_max is 212992 bytes", "sudo sysctl -w net.core.rmem_max=7340032")
	for _, f := range got {
		if strings.Contains(f.Text, "wmem") {
			t.Errorf("got %+v", f)
		}
	}
}

// Whatever is wrong: one line each, and an error or a warning never without a remedy.
func TestEveryFaultHasARemedy(t *testing.T) {
	list := Look(t.Context(), Config{
		Dir: t.TempDir(), HomeErr: errors.New("home: broken:\n  twice"), NodeErr: errors.New("daemon: silent"), Notes: []string{"CELL_TEA is no setting"}, Root: root(t, nil),
	})
	seen := map[string]bool{}
	for _, f := range list {
		seen[f.Check] = true
		if strings.ContainsAny(f.Text+f.Remedy, "\n\r") || f.Text == "" {
			t.Errorf("not one line: %+v", f)
		}
		if f.Remedy == "" && (f.Level == Error || f.Level == Warning) {
			t.Errorf("no remedy: %+v", f)
		}
	}
	for _, c := range checks {
		if !seen[c.name] {
			t.Errorf("%s found nothing", c.name)
		}
	}
	if Worst(list) != Error {
		t.Errorf("the worst is %s", Worst(list))
	}
}
