package manifest

import (
	"crypto/ed25519"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// keyPrefix begins every publisher key in a file; it leaves room for a second algorithm.
const keyPrefix = "ed25519:"

// Trust names the publishers of a cell.
type Trust struct {
	Keys      []string // as FormatKey writes them; no two the same
	Threshold int      // signatures that a new version of the trust document needs; at least 1
}

// Text writes the trust as one comparable value, which ParseTrust reads: the keys in order, and in front of them the
// threshold. A nil Trust is the empty text.
func (t *Trust) Text() string {
	if t == nil {
		return ""
	}
	return strconv.Itoa(max(1, t.Threshold)) + "/" + strings.Join(slices.Sorted(slices.Values(t.Keys)), ",")
}

// ParseTrust reads what Text writes.
func ParseTrust(text string) (*Trust, error) {
	if text == "" {
		return nil, nil
	}
	threshold, keys, _ := strings.Cut(text, "/")
	t := &Trust{Keys: strings.Split(keys, ",")}
	for i, key := range t.Keys {
		parsed, err := ParseKey(key)
		if err != nil {
			return nil, err
		}
		t.Keys[i] = FormatKey(parsed)
	}
	var err error
	if t.Threshold, err = strconv.Atoi(threshold); err != nil || t.Threshold < 1 || t.Threshold > len(t.Keys) {
		return nil, &NameError{"threshold", threshold, "is not a number from 1 to that of the keys"}
	}
	return t, nil
}

// FormatKey writes a publisher's public key as it stands in [trust] keys: ed25519: and 43 characters of base64.
func FormatKey(key ed25519.PublicKey) string {
	return keyPrefix + base64.RawStdEncoding.EncodeToString(key)
}

// ParseKey reads what FormatKey writes; padding at the end is let through. The error is a *NameError.
func ParseKey(s string) (ed25519.PublicKey, error) {
	text, ok := strings.CutPrefix(s, keyPrefix)
	if !ok {
		return nil, &NameError{"key", s, "does not begin with ed25519:; cellnode key show prints it as it must stand here"}
	}
	key, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimSuffix(text, "="))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return nil, &NameError{"key", s, "is not 32 bytes of base64; cellnode key show prints it as it must stand here"}
	}
	return key, nil
}

func readTrust(n *node) *Trust {
	if !n.present() {
		return nil
	}
	t := &Trust{Keys: readKeys(n), Threshold: readThreshold(n)}
	n.refuseUnknown()
	return t
}

// readKeys reads keys in their canonical spelling, so that two spellings of one key do not count twice.
func readKeys(n *node) []string {
	keys := n.texts("keys", MaxTrustKeys, 256)
	if len(keys) == 0 {
		n.fail("names no keys; cellnode init writes them (a cell without publishers has no [trust] at all)")
	}
	seen := map[string]bool{}
	for i, k := range keys {
		key, err := ParseKey(k)
		if err != nil {
			n.child("keys").fail("has %s", problem(err))
			return nil
		}
		keys[i] = FormatKey(key)
		if seen[keys[i]] {
			n.child("keys").fail("has %q twice", keys[i])
		}
		seen[keys[i]] = true
	}
	return keys
}

// readThreshold is 1 when nothing is written.
func readThreshold(n *node) int {
	count := len(n.elements("keys", MaxTrustKeys))
	threshold, ok := n.integer("threshold", 1, int64(max(count, 1)))
	if !ok {
		return 1
	}
	return int(threshold)
}
