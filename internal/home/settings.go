package home

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// A Setting is one key of config.toml.
type Setting struct {
	Key string
	// Live: a running node takes a new value on SIGHUP. The others want a new start.
	Live bool

	set setter
	get func(c *Config) any // []string, bool, int or string
}

// settings are in the order in which a person meets them.
var settings = []Setting{
	{
		"bootstrap", true,
		func(c *Config, v any) error { return setList(&c.Bootstrap, v, 0, maxBootstrap, checkBootstrap) },
		func(c *Config) any { return c.Bootstrap },
	},
	{
		"listen", false,
		func(c *Config, v any) error { return setList(&c.Listen, v, 1, maxListen, checkListen) },
		func(c *Config) any { return c.Listen },
	},
	{
		"advertise", true,
		func(c *Config, v any) error { return setList(&c.Advertise, v, 0, maxAdvertise, checkAdvertise) },
		func(c *Config) any { return c.Advertise },
	},
	{"dht", false, setDHT, func(c *Config) any { return c.DHT.value() }},
	{
		"mdns", false,
		func(c *Config, v any) error { return setBool(&c.MDNS, v) },
		func(c *Config) any { return c.MDNS },
	},
	{
		"port_mapping", false,
		func(c *Config, v any) error { return setBool(&c.PortMapping, v) },
		func(c *Config) any { return c.PortMapping },
	},
	{
		"connections", false,
		func(c *Config, v any) error { return setNumber(&c.Connections, v, minConnections, maxConnections) },
		func(c *Config) any { return c.Connections },
	},
	{
		"spawn_idle_s", false,
		func(c *Config, v any) error { return setNumber(&c.SpawnIdle, v, 0, maxSpawnIdle) },
		func(c *Config) any { return c.SpawnIdle },
	},
}

// Settings lists the keys of config.toml.
func Settings() []Setting { return slices.Clone(settings) }

// Variable is the key's environment variable, which stands in for the file.
func (s Setting) Variable() string { return "CELL_" + strings.ToUpper(s.Key) }

// Flag is the key's flag, which stands in for both, where a command has one.
func (s Setting) Flag() string { return "--" + strings.ReplaceAll(s.Key, "_", "-") }

// Default is the value of the key that nobody has set, as TOML writes it.
func (s Setting) Default() string {
	c := defaults()
	return tomlText(s.get(&c))
}

// A Value is what a key is set to, and where that was said.
type Value struct {
	Key   string `json:"key"`
	Value any    `json:"value"` // []string, bool, int or string
	From  string `json:"from"`  // the file's path, a variable, a flag, or "default"
}

// TOML returns the value as config.toml takes it.
func (v Value) TOML() string { return tomlText(v.Value) }

// Values returns every key's value.
func (d *Dir) Values(above ...Layer) ([]Value, error) {
	path := d.ConfigPath()
	data, err := ReadConfig(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return ParseValues(path, data, append([]Layer{Environment(os.Getenv)}, above...)...)
}

// ParseValues is ParseConfig with where each value comes from.
func ParseValues(path string, data []byte, above ...Layer) ([]Value, error) {
	c, from, err := read(path, data, above)
	if err != nil {
		return nil, err
	}
	return values(&c, from), nil
}

func values(c *Config, from map[string]string) []Value {
	list := make([]Value, 0, len(settings))
	for _, s := range settings {
		v := Value{Key: s.Key, Value: s.get(c), From: from[s.Key]}
		if list, ok := v.Value.([]string); ok && list == nil {
			v.Value = []string{}
		}
		if v.From == "" {
			v.From = "default"
		}
		list = append(list, v)
	}
	return list
}

// Restart lists the keys whose values differ between two configurations and that a running node cannot change.
func Restart(old, now Config) []string {
	var keys []string
	for _, s := range settings {
		if !s.Live && tomlText(s.get(&old)) != tomlText(s.get(&now)) {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

func tomlText(v any) string {
	switch v := v.(type) {
	case []string:
		quoted := make([]string, len(v))
		for i, e := range v {
			quoted[i] = fmt.Sprintf("%q", e)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// A Layer stands in for keys of config.toml, in the form of text: lists are separated by commas. A key that it has no
// text for is left as the layers below have it.
type Layer struct {
	name func(Setting) string
	text func(name string) string
}

// Environment is the layer of the CELL_* variables; an empty one counts as unset.
func Environment(getenv func(string) string) Layer { return Layer{Setting.Variable, getenv} }

// Flags is the layer of a command line: texts by the names of flags, with their dashes.
func Flags(given map[string]string) Layer {
	given = maps.Clone(given)
	return Layer{Setting.Flag, func(name string) string { return given[name] }}
}
