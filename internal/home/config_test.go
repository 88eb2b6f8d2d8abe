package home

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const (
	peerA = "12D3KooWGmFFPD2hYf5TYqTQwaYuRW7FXyBJc1NZ3XpeZf1NEZkS"
	addrA = "/ip4/192.0.2.7/udp/40000/quic-v1/p2p/" + peerA
	addrB = "/ip6/2001:db8::7/udp/40000/quic-v1/p2p/" + peerA
)

func TestAbsentConfigIsTheDefaults(t *testing.T) {
	got, err := open(t).Config()
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestConfigIsReadWhateverTheOrderOfItsKeys(t *testing.T) {
	lines := []string{
		`bootstrap = ["` + addrA + `", "git.example.org/net/entry@v1", "` + addrB + `", "` + addrA + `"]`,
		`listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/tls"]`,
		`advertise = ["/ip4/203.0.113.9/udp/41000/quic-v1"]`,
		`dht = "amino"`,
		`mdns = false`,
		`port_mapping = false`,
		`connections = 64`,
		`spawn_idle_s = 0`,
	}
	want := Config{
		Bootstrap: []string{addrA, "git.example.org/net/entry@v1", addrB},
		Listen:    []string{"/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0/tls"},
		Advertise: []string{"/ip4/203.0.113.9/udp/41000/quic-v1"},
		DHT:       DHTAmino, Connections: 64,
	}
	d := open(t)
	for range 2 {
		if err := os.WriteFile(d.Path("config.toml"), []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := d.Config()
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v", got)
		}
		slices.Reverse(lines)
	}
}

func TestEnvironmentStandsInForTheFile(t *testing.T) {
	file := []byte("bootstrap = [\"" + addrB + "\"]\ndht = false\nmdns = false\n")
	tests := []struct {
		name string
		env  map[string]string
		want func(*Config)
	}{
		{"nothing set", nil, func(*Config) {}},
		{"empty counts as unset", map[string]string{"CELL_BOOTSTRAP": "", "CELL_DHT": " "}, func(*Config) {}},
		{"lists", map[string]string{
			"CELL_BOOTSTRAP": addrA + ", git.example.org/net/entry@v1,",
			"CELL_LISTEN":    "/ip4/0.0.0.0/udp/5/quic-v1",
			"CELL_ADVERTISE": "/ip6/2001:db8::1/tcp/5/tls",
		}, func(c *Config) {
			c.Bootstrap = []string{addrA, "git.example.org/net/entry@v1"}
			c.Listen = []string{"/ip4/0.0.0.0/udp/5/quic-v1"}
			c.Advertise = []string{"/ip6/2001:db8::1/tcp/5/tls"}
		}},
		{"switches", map[string]string{"CELL_DHT": "amino", "CELL_MDNS": "true"}, func(c *Config) {
			c.DHT, c.MDNS = DHTAmino, true
		}},
		{"dht on", map[string]string{"CELL_DHT": "true"}, func(c *Config) { c.DHT = DHTOn }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			want.Bootstrap, want.DHT, want.MDNS = []string{addrB}, DHTOff, false
			tt.want(&want)
			got, err := ParseConfig("config.toml", file, Environment(func(name string) string { return tt.env[name] }))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestBadConfigIsOneClearLine(t *testing.T) {
	tests := []struct{ text, want string }{
		{`bootsrap = []`, "config.toml: bootsrap is not a known key; did you mean bootstrap?"},
		{`color = "red"`, "color is not a known key; known are advertise, bootstrap, connections, dht, listen, mdns, port_mapping, spawn_idle_s"},
		{"[dht]\nmode = 1", `dht is map[mode:1]: write true, false or "amino"`},
		{"mdns = true\nlisten = [", "config.toml:2: "},
		{`bootstrap = "x"`, "bootstrap is x: write an array"},
		{`bootstrap = [7]`, "bootstrap[0] is 7: write a string"},
		{`bootstrap = ["/ip4/192.0.2.7/udp/40000/quic-v1"]`, "/p2p/PEER"},
		{`bootstrap = ["/p2p/` + peerA + `"]`, "/p2p/PEER"},
		{`bootstrap = ["git.example.org/net/entry"]`, "bootstrap[0]"},
		{`listen = []`, "leave it out"},
		{`listen = ["/ip4/0.0.0.0/tcp/40000"]`, "/tls"},
		{`listen = ["0.0.0.0:40000"]`, "want /ip4/ADDRESS"},
		{`listen = ["/ip4/0.0.0.0/udp/40000/quic-v1/p2p/` + peerA + `"]`, "want /ip4/ADDRESS"},
		{`listen = ["/dns4/example.org/udp/40000/quic-v1"]`, "want /ip4/ADDRESS"},
		{`advertise = ["/ip4/0.0.0.0/udp/40000/quic-v1"]`, "others can dial"},
		{`advertise = ["/ip4/203.0.113.9/udp/0/quic-v1"]`, "others can dial"},
		{`advertise = ["a", "b", "c", "d", "e"]`, "at most 4"},
		{`dht = "on"`, `write true, false or "amino"`},
		{`connections = 3`, "connections is 3: write a number from 16 to"},
		{`connections = "many"`, "connections is many: write a number"},
		{`spawn_idle_s = -1`, "spawn_idle_s is -1: write a number from 0 to"},
		{`mdns = 1`, "mdns is 1: write true or false"},
	}
	for _, tt := range tests {
		_, err := ParseConfig("config.toml", []byte(tt.text))
		wantError(t, err, tt.want, "home: config.toml:")
	}
	_, err := ParseConfig("config.toml", nil, Environment(func(name string) string {
		return map[string]string{"CELL_LISTEN": "/ip4/1.2.3.4/tcp/1"}[name]
	}))
	wantError(t, err, `home: CELL_LISTEN[0] is "/ip4/1.2.3.4/tcp/1"`)
}

func TestEntryPointsArePeersAndCells(t *testing.T) {
	c := Config{Bootstrap: []string{addrA, "git.example.org/net/entry@v1", addrB}}
	peers, cells := c.Peers(), c.Cells()
	if len(peers) != 1 || len(peers[0].Addrs) != 2 || peers[0].ID.String() != peerA {
		t.Errorf("peers %v, want one with two addresses", peers)
	}
	if len(cells) != 1 || cells[0].String() != "git.example.org/net/entry@v1" {
		t.Errorf("cells %v", cells)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`bootstrap = ["` + addrA + `"]`))
	f.Add([]byte("listen = [\"/ip6/::/tcp/1/tls\"]\ndht = \"amino\"\nmdns = false"))
	f.Add([]byte("[a]\nb.c = [[{}]]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseConfig("config.toml", text)
		if err == nil && (len(c.Listen) == 0 || len(c.Advertise) > maxAdvertise || len(c.Bootstrap) > maxBootstrap) {
			t.Errorf("%q gave %+v", text, c)
		}
		if err == nil && len(c.Peers())+len(c.Cells()) > len(c.Bootstrap) {
			t.Errorf("%q: more entry points than entries", text)
		}
	})
}
