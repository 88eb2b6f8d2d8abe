package manifest

import "strings"

// nearest is the known word that a person most likely meant by word, or "".
func nearest(word string, known []string) string {
	best, least := "", len(word)/2+2
	if len(word) > 64 {
		return ""
	}
	for _, k := range known {
		d := distance(strings.ToLower(word), k)
		if strings.HasPrefix(k, word) || strings.HasPrefix(word, k) {
			d = min(d, 1)
		}
		if d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance in bytes.
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
