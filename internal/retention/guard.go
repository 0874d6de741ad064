package retention

import (
	"fmt"
	"slices"
)

// few is how many removals at once need no second thought.
const few = 3

// NeedsGrace reports whether the removals of d must wait for the policy's
// grace, and why: they are more than half of the candidates or of the second
// list (and more than three), or the first ones after an edit of the policy or
// of the time zone. Nothing to remove needs no grace.
func NeedsGrace(d Decision, firstAfterEdit bool) (bool, string) {
	total, removed := map[List]int{}, map[List]int{}
	all := 0
	for _, it := range d.Items {
		total[it.List]++
		if !it.Keep {
			removed[it.List]++
			all++
		}
	}
	if all == 0 {
		return false, ""
	}
	for _, list := range []List{ListCandidates, ListSecond} {
		if n := removed[list]; n > few && 2*n > total[list] {
			what := "good backups"
			if list == ListSecond {
				what = "partial, suspect and damaged backups"
			}
			return true, fmt.Sprintf("would remove %d of %d %s, more than half", n, total[list], what)
		}
	}
	if firstAfterEdit {
		return true, fmt.Sprintf("would remove %d backups, the first removals after an edit of the retention or the time zone", all)
	}
	return false, ""
}

// Suspect reports whether a complete backup of restoredSize bytes looks too
// small to be one: it is empty, or less than a fifth of the median of the last
// seven. lastSizes are the restored sizes of earlier candidates, newest first,
// including those that were pruned since; the first seven count, and fewer than
// three say nothing about what is small. A first backup is never suspect.
func Suspect(restoredSize int64, lastSizes []int64) bool {
	if len(lastSizes) == 0 {
		return false
	}
	if restoredSize <= 0 {
		return true
	}
	const least, most = 3, 7
	if len(lastSizes) < least {
		return false
	}
	sizes := slices.Sorted(slices.Values(lastSizes[:min(most, len(lastSizes))]))
	middle := len(sizes) / 2
	median := float64(sizes[middle])
	if len(sizes)%2 == 0 {
		median = (float64(sizes[middle-1]) + float64(sizes[middle])) / 2
	}
	return float64(restoredSize) < median/5
}
