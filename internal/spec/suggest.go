package spec

import (
	"slices"
	"strings"
)

// suggest returns a hint for a word that is not among the known ones.
func suggest(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return "did you mean " + near + "?"
	}
	return "known: " + strings.Join(known, ", ")
}

// nearest returns the known word that word most likely stands for, or "".
func nearest(word string, known []string) string {
	if len(word) > 40 {
		return ""
	}
	word = strings.ToLower(word)
	best, least := "", max(1, min(3, len(word)/3))+1
	for _, k := range known {
		lower := strings.ToLower(k)
		d := distance(word, lower)
		if len(word) > 3 && strings.Contains(lower, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, delete, change or swap with their neighbour to make b of a.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before, last = last, row
		row = slices.Clone(last)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
