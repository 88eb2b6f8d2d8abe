package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	ma "github.com/multiformats/go-multiaddr"
)

func sortSeeds(seeds []Seed) {
	slices.SortFunc(seeds, func(a, b Seed) int { return strings.Compare(a.Peer.String(), b.Peer.String()) })
}

// sortAddrs sorts as text and drops doubles.
func sortAddrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	slices.SortFunc(addrs, func(a, b ma.Multiaddr) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(addrs, func(a, b ma.Multiaddr) bool { return a.Equal(b) })
}

// seedListJSON fixes the order of the keys.
type seedListJSON struct {
	Cell      string     `json:"cell,omitempty"`
	Updated   string     `json:"updated,omitempty"`
	Instances []seedJSON `json:"instances"`
}

type seedJSON struct {
	Peer   string   `json:"peer"`
	Addrs  []string `json:"addrs"`
	Record string   `json:"record,omitempty"`
}

// Marshal writes the list as indented JSON, sorted by peer, so that two writers of the same list write the same bytes.
// What ParseSeedList would refuse is an error.
func (l *SeedList) Marshal() ([]byte, error) {
	out := seedListJSON{Instances: make([]seedJSON, 0, len(l.Instances))}
	if l.Cell.Defined() {
		out.Cell = l.Cell.String()
	}
	if !l.Updated.IsZero() {
		out.Updated = l.Updated.UTC().Format(time.RFC3339)
	}
	seeds := slices.Clone(l.Instances)
	sortSeeds(seeds)
	for _, s := range seeds {
		out.Instances = append(out.Instances, s.forJSON())
	}
	data, err := marshalJSON(out)
	if err != nil {
		return nil, err
	}
	if _, err := ParseSeedList("instances.json", data); err != nil {
		return nil, fmt.Errorf("cannot be written: %w", err)
	}
	return data, nil
}

func (s Seed) forJSON() seedJSON {
	return seedJSON{Peer: s.Peer.String(), Addrs: s.addrTexts(), Record: base64.StdEncoding.EncodeToString(s.Record)}
}

func (s Seed) addrTexts() []string {
	texts := make([]string, 0, len(s.Addrs))
	for _, a := range sortAddrs(slices.Clone(s.Addrs)) {
		texts = append(texts, a.String())
	}
	return texts
}

func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return b.Bytes(), nil
}
