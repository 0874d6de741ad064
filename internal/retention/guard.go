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
	var t Tally
	for _, it := range d.Items {
		t.add(it.List, it.Keep)
	}
	return t.NeedsGrace(firstAfterEdit)
}

// Tally counts what a decision keeps and removes.
type Tally struct {
	candidates, second, other struct{ total, removed int }
}

func (t *Tally) add(list List, keep bool) {
	n := &t.other
	switch list {
	case ListCandidates:
		n = &t.candidates
	case ListSecond:
		n = &t.second
	}
	n.total++
	if !keep {
		n.removed++
	}
}

// Removed counts the backups that go.
func (t Tally) Removed() int { return t.candidates.removed + t.second.removed + t.other.removed }

// Large reports that more than half of a list goes (and more than three), and
// which list that is.
func (t Tally) Large() (List, bool) {
	switch {
	case t.candidates.removed > few && 2*t.candidates.removed > t.candidates.total:
		return ListCandidates, true
	case t.second.removed > few && 2*t.second.removed > t.second.total:
		return ListSecond, true
	}
	return "", false
}

// NeedsGrace is the function of this name for the decision that was counted.
func (t Tally) NeedsGrace(firstAfterEdit bool) (bool, string) {
	if t.Removed() == 0 {
		return false, ""
	}
	switch list, large := t.Large(); {
	case large && list == ListCandidates:
		return true, fmt.Sprintf("would remove %d of %d good backups, more than half", t.candidates.removed, t.candidates.total)
	case large:
		return true, fmt.Sprintf("would remove %d of %d partial, suspect and damaged backups, more than half", t.second.removed, t.second.total)
	}
	if firstAfterEdit {
		what := "backups"
		if t.Removed() == 1 {
			what = "backup"
		}
		return true, fmt.Sprintf("would remove %d %s, the first removals after an edit of the retention or the time zone", t.Removed(), what)
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
