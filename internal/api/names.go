package api

import (
	"cmp"
	"slices"
	"strings"
)

// nearest returns up to three names that a person may have meant, the
// likeliest first.
func nearest(name string, known []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	most := max(2, len(name)/3)
	var likely []candidate
	for _, k := range known {
		d := distance(name, k)
		if d <= most || strings.HasPrefix(k, name) && name != "" {
			likely = append(likely, candidate{k, d})
		}
	}
	slices.SortFunc(likely, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range likely[:min(3, len(likely))] {
		out = append(out, c.name)
	}
	return out
}

// distance counts the letters to insert, remove or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(above+1, row[j]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
