package home

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// A setter puts a value, as TOML decodes it, into a Config. Its errors begin where the key ends: " is …", "[2] is …".
type setter func(c *Config, value any) error

// ParseConfig decodes and checks the text of a config.toml, which path names in errors, and the layers above it, the
// last of which wins. The order of the keys means nothing. Unknown keys are errors that name the nearest known one.
func ParseConfig(path string, data []byte, above ...Layer) (Config, error) {
	c, _, err := read(path, data, above)
	return c, err
}

// read is ParseConfig; from says where each key that is not at its default was set.
func read(path string, data []byte, above []Layer) (c Config, from map[string]string, err error) {
	c, from = defaults(), map[string]string{}
	if err := c.readFile(path, data, from); err != nil {
		return Config{}, nil, err
	}
	for _, layer := range above {
		if err := c.readLayer(layer, from); err != nil {
			return Config{}, nil, err
		}
	}
	return c, from, nil
}

func (c *Config) readFile(path string, data []byte, from map[string]string) error {
	if len(data) > maxConfigFile {
		return fmt.Errorf("home: %s: longer than %d bytes", path, maxConfigFile)
	}
	var file map[string]any
	if _, err := toml.Decode(string(data), &file); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return fmt.Errorf("home: %s:%d: %s", path, syntax.Position.Line, strings.Join(strings.Fields(syntax.Message), " "))
		}
		return fmt.Errorf("home: %s: %w", path, err)
	}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		at := slices.IndexFunc(settings, func(s Setting) bool { return s.Key == key })
		if at < 0 {
			return fmt.Errorf("home: %s: %s is not a known key; %s", path, key, suggest(key))
		}
		if err := settings[at].set(c, file[key]); err != nil {
			return fmt.Errorf("home: %s: %s%w", path, key, err)
		}
		from[key] = path
	}
	return nil
}

func (c *Config) readLayer(layer Layer, from map[string]string) error {
	for _, s := range settings {
		name := layer.name(s)
		text := strings.TrimSpace(layer.text(name))
		if text == "" {
			continue
		}
		if err := s.set(c, s.decode(text)); err != nil {
			return fmt.Errorf("home: %s%w", name, err)
		}
		from[s.Key] = name
	}
	return nil
}

// decode makes of a text what TOML would have made of the value, so far as it can be.
func (s Setting) decode(text string) any {
	c := defaults()
	if _, list := s.get(&c).([]string); list {
		return splitList(text)
	}
	if text == "true" || text == "false" {
		return text == "true"
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	return text
}

func splitList(text string) []any {
	var list []any
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// setList replaces list by the array value, without its repetitions.
func setList(list *[]string, value any, least, most int, check func(string) error) error {
	array, ok := value.([]any)
	if !ok {
		return fmt.Errorf(` is %v: write an array of strings, ["…", "…"]`, value)
	}
	if len(array) > most {
		return fmt.Errorf(" has %d entries, at most %d are taken", len(array), most)
	}
	if len(array) < least {
		return errors.New(" is empty: leave it out to get the default")
	}
	entries := make([]string, 0, len(array))
	for i, element := range array {
		entry, ok := element.(string)
		if !ok {
			return fmt.Errorf("[%d] is %v: write a string", i, element)
		}
		if err := check(entry); err != nil {
			return fmt.Errorf("[%d] is %q: %w", i, entry, err)
		}
		if !slices.Contains(entries, entry) {
			entries = append(entries, entry)
		}
	}
	*list = entries
	return nil
}

func setDHT(c *Config, value any) error {
	switch value {
	case true:
		c.DHT = DHTOn
	case false:
		c.DHT = DHTOff
	case "amino":
		c.DHT = DHTAmino
	default:
		return fmt.Errorf(` is %v: write true, false or "amino"`, value)
	}
	return nil
}

// value is what config.toml takes for it.
func (d DHT) value() any {
	switch d {
	case DHTOn:
		return true
	case DHTOff:
		return false
	}
	return string(d)
}

func setBool(on *bool, value any) error {
	given, ok := value.(bool)
	if !ok {
		return fmt.Errorf(" is %v: write true or false", value)
	}
	*on = given
	return nil
}

func setNumber(n *int, value any, least, most int64) error {
	given, ok := value.(int64)
	if !ok || given < least || given > most {
		return fmt.Errorf(" is %v: write a number from %d to %d", value, least, most)
	}
	*n = int(given)
	return nil
}

// suggest names the key that was probably meant.
func suggest(word string) string {
	keys := make([]string, 0, len(settings))
	for _, s := range settings {
		keys = append(keys, s.Key)
	}
	slices.Sort(keys)
	return nearest(word, keys)
}

// nearest names the one of keys at the least edit distance from word, or all of them if none is near.
func nearest(word string, keys []string) string {
	best := slices.MinFunc(keys, func(a, b string) int { return distance(word, a) - distance(word, b) })
	if distance(word, best) > len(best)/2 {
		return "known are " + strings.Join(keys, ", ")
	}
	return "did you mean " + best + "?"
}

// distance is the Levenshtein distance of a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
