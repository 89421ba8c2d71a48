package matrix_test

import (
	"slices"
	"testing"

	"acmed/test/matrix"
)

// TestTheFewCellsHoldEachPair goes through all pairs by another way than Pairwise does: value by value.
func TestTheFewCellsHoldEachPair(t *testing.T) {
	all := matrix.Cells()
	few := matrix.Pairwise(all)
	lists := [][]string{matrix.Challenges(), matrix.Identifiers(), matrix.Keys(), matrix.Rotations(), matrix.CAs()}
	pairs := 0
	for i, list := range lists {
		for j, other := range lists[i+1:] {
			for _, v := range list {
				for _, w := range other {
					if i == 0 && j == 0 && matrix.Senseless(v, w) != "" {
						continue
					}
					pairs++
					if !slices.ContainsFunc(few, func(c matrix.Cell) bool { return value(c, i) == v && value(c, i+j+1) == w }) {
						t.Errorf("no cell has %s with %s", v, w)
					}
				}
			}
		}
	}
	// Seven kinds of identifiers with five keys is the least there can be.
	if len(few) < 35 || len(few) > 45 {
		t.Errorf("%d cells of %d hold %d pairs", len(few), len(all), pairs)
	}
	for _, c := range few {
		if !slices.Contains(all, c) {
			t.Errorf("%s makes no sense", c)
		}
	}
}

func value(c matrix.Cell, i int) string {
	return []string{c.Challenge, c.Identifiers, c.Key, c.Rotation, c.CA}[i]
}

func TestOnlyWhatCanBeProvedIsTried(t *testing.T) {
	cells := matrix.Cells()
	// Two challenges prove six kinds of identifiers each, and four kinds of dns-01 prove four each.
	if want := (2*6 + 4*4) * 5 * 2 * 3; len(cells) != want {
		t.Errorf("%d cells, want %d", len(cells), want)
	}
	for _, c := range cells {
		if c.Identifiers == "wildcard" && c.Challenge[:6] != "dns-01" {
			t.Errorf("%s: a wildcard without dns-01", c)
		}
	}
}
