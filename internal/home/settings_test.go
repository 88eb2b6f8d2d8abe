package home

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestEachValueSaysWhereItComesFrom(t *testing.T) {
	d := open(t)
	if err := os.WriteFile(d.ConfigPath(), []byte("mdns = false\nconnections = 32\ndht = false\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CELL_DHT", "amino")
	t.Setenv("CELL_PORT_MAPPING", "false")
	t.Setenv("CELL_ADVERTISE", "/ip4/203.0.113.9/udp/5/quic-v1")
	flags := Flags(map[string]string{"--advertise": "/ip4/203.0.113.9/udp/6/quic-v1", "--bootstrap": ""})
	got, err := d.Values(flags)
	if err != nil {
		t.Fatal(err)
	}
	want := []Value{
		{"bootstrap", []string{}, "default"},
		{"listen", DefaultListen(), "default"},
		{"advertise", []string{"/ip4/203.0.113.9/udp/6/quic-v1"}, "--advertise"},
		{"dht", "amino", "CELL_DHT"},
		{"mdns", false, d.ConfigPath()},
		{"port_mapping", false, "CELL_PORT_MAPPING"},
		{"connections", 32, d.ConfigPath()},
		{"spawn_idle_s", 600, "default"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	c, err := d.Config(flags)
	if err != nil {
		t.Fatal(err)
	}
	if again := values(&c, nil); again[2].TOML() != want[2].TOML() {
		t.Errorf("Config says %v", again[2])
	}
}

func TestShownSettingsAreAConfigFile(t *testing.T) {
	c := defaults()
	c.Bootstrap, c.DHT = []string{addrA, "git.example.org/net/entry@v1"}, DHTOff
	var text strings.Builder
	for _, v := range values(&c, nil) {
		text.WriteString(v.Key + " = " + v.TOML() + "\n")
	}
	got, err := ParseConfig("shown", []byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if len(Restart(c, got)) != 0 || !reflect.DeepEqual(c.Bootstrap, got.Bootstrap) {
		t.Errorf("%s gave %+v", text.String(), got)
	}
}

func TestFlagThatIsWrongIsNamed(t *testing.T) {
	_, err := ParseConfig("", nil, Flags(map[string]string{"--port-mapping": "perhaps"}))
	wantError(t, err, "home: --port-mapping is perhaps: write true or false")
}

func TestWhatWantsARestartIsNamed(t *testing.T) {
	old, now := defaults(), defaults()
	now.Bootstrap, now.Advertise = []string{addrA}, []string{"/ip4/203.0.113.9/udp/5/quic-v1"}
	now.DHT, now.Listen = DHTOff, []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	if got := Restart(old, now); !reflect.DeepEqual(got, []string{"listen", "dht"}) {
		t.Errorf("got %v", got)
	}
}

func TestMisspeltVariableIsNoted(t *testing.T) {
	got := UnknownVariables([]string{"CELL_BOOTSTRP=x", "CELL_HOME=/x", "CELL_EMPTY=", "PATH=/bin", "CELL_DHT=true"})
	if len(got) != 1 || got[0] != "CELL_BOOTSTRP is not a known variable; did you mean CELL_BOOTSTRAP?" {
		t.Errorf("got %q", got)
	}
}
