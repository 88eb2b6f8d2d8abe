package home

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// A setter puts a value, as TOML decodes it, into a Config. Its errors begin where the key ends: " is …", "[2] is …".
type setter func(c *Config, value any) error

// settings are the keys of config.toml. The variable of a key is CELL_ and the key in capitals.
var settings = map[string]setter{
	"bootstrap": func(c *Config, v any) error { return setList(&c.Bootstrap, v, 0, maxBootstrap, checkBootstrap) },
	"listen":    func(c *Config, v any) error { return setList(&c.Listen, v, 1, maxListen, checkListen) },
	"advertise": func(c *Config, v any) error { return setList(&c.Advertise, v, 0, maxAdvertise, checkAdvertise) },
	"dht":       setDHT,
	"mdns":      setMDNS,
}

func (c *Config) readFile(path string, data []byte) error {
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
		set, known := settings[key]
		if !known {
			return fmt.Errorf("home: %s: %s is not a known key; %s", path, key, suggest(key))
		}
		if err := set(c, file[key]); err != nil {
			return fmt.Errorf("home: %s: %s%w", path, key, err)
		}
	}
	return nil
}

func (c *Config) readEnvironment(getenv func(string) string) error {
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		name := "CELL_" + strings.ToUpper(key)
		text := strings.TrimSpace(getenv(name))
		if text == "" {
			continue
		}
		var value any = text
		switch {
		case text == "true" || text == "false":
			value = text == "true"
		case key != "dht" && key != "mdns":
			value = splitList(text)
		}
		if err := settings[key](c, value); err != nil {
			return fmt.Errorf("home: %s%w", name, err)
		}
	}
	return nil
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

func setMDNS(c *Config, value any) error {
	on, ok := value.(bool)
	if !ok {
		return fmt.Errorf(" is %v: write true or false", value)
	}
	c.MDNS = on
	return nil
}

// suggest names the known key at the least edit distance from word, or all of them if none is near.
func suggest(word string) string {
	keys := slices.Sorted(maps.Keys(settings))
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
