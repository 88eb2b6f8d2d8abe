package manifest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

const lockHeader = `# Cell.lock is written by cellnode: what this code was built against. Commit it; do not edit it.
`

// Marshal writes the lock as TOML: a table for each cell and a line for each seed, all sorted, so that a diff shows what
// changed and nothing else. What ParseLock would refuse is an error.
func (l *Lock) Marshal() ([]byte, error) {
	cells := slices.Clone(l.Cells)
	slices.SortFunc(cells, func(a, b LockedCell) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	b.WriteString(lockHeader)
	fmt.Fprintf(&b, "version = %d\n", lockVersion)
	for i, c := range cells {
		if i > 0 && cells[i-1].Name == c.Name {
			return nil, fmt.Errorf("manifest: Cell.lock: %q is locked twice", c.Name)
		}
		c.write(&b)
	}
	data := []byte(b.String())
	if _, err := ParseLock("Cell.lock", data); err != nil {
		return nil, fmt.Errorf("cannot be written: %w", err)
	}
	return data, nil
}

func (c LockedCell) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n[cell.%s]\n", quoteKey(c.Name))
	writeText(b, "repository", c.Cell.Repository)
	writeText(b, "tag", c.Cell.Tag)
	writeText(b, "git", c.Git)
	writeText(b, "commit", c.Commit)
	writeText(b, "manifest", c.Manifest)
	writeText(b, "fingerprint", c.Fingerprint)
	c.writeSeeds(b)
	if t := c.Trust; t != nil {
		fmt.Fprintf(b, "\n[cell.%s.trust]\n", quoteKey(c.Name))
		fmt.Fprintf(b, "version = %d\nthreshold = %d\nkeys = [\n", t.Version, t.Threshold)
		for _, k := range t.Keys {
			fmt.Fprintf(b, "  %s,\n", quoteText(k))
		}
		b.WriteString("]\n")
		writeText(b, "document", t.Document)
	}
}

func (c LockedCell) writeSeeds(b *strings.Builder) {
	if len(c.Seeds) == 0 {
		return
	}
	seeds := slices.Clone(c.Seeds)
	sortSeeds(seeds)
	b.WriteString("seeds = [\n")
	for _, s := range seeds {
		var addrs []string
		for _, a := range s.addrTexts() {
			addrs = append(addrs, quoteText(a))
		}
		fmt.Fprintf(b, "  { peer = %s, addrs = [%s]", quoteText(s.Peer.String()), strings.Join(addrs, ", "))
		if s.Record != nil {
			fmt.Fprintf(b, ", record = %s", quoteText(base64.StdEncoding.EncodeToString(s.Record)))
		}
		b.WriteString(" },\n")
	}
	b.WriteString("]\n")
}

// writeText leaves out what is empty.
func writeText(b *strings.Builder, key, value string) {
	if value != "" {
		fmt.Fprintf(b, "%s = %s\n", key, quoteText(value))
	}
}

func quoteKey(key string) string {
	if isBareKey(key) {
		return key
	}
	return quoteText(key)
}

// quoteText is a TOML basic string.
func quoteText(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
