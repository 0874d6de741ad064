package repository

import (
	"fmt"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// pathsShown is how many paths of one backup a problem names in its line.
const pathsShown = 3

// Say describes the problem in one line with the files that it hurts, by
// backup. name says what a person knows a snapshot as.
func (p Problem) Say(name func(restic.ID) string) string {
	var b strings.Builder
	b.WriteString(p.Text)
	var order []restic.ID
	paths := make(map[restic.ID][]string)
	for _, a := range p.Affected {
		if len(paths[a.Snapshot]) == 0 {
			order = append(order, a.Snapshot)
		}
		paths[a.Snapshot] = append(paths[a.Snapshot], a.Path)
	}
	for _, id := range order {
		list := paths[id]
		more := ""
		if len(list) > pathsShown {
			more = fmt.Sprintf(" and %d more", len(list)-pathsShown)
			list = list[:pathsShown]
		}
		fmt.Fprintf(&b, "; hurts %s: %s%s", name(id), strings.Join(list, ", "), more)
	}
	if len(p.Affected) >= MaxAffected {
		b.WriteString("; and perhaps more")
	}
	return b.String()
}

// Lines describes what a repair did or would do, a line for each kind of
// thing, none if there was nothing to do.
func (r *RepairReport) Lines(dryRun bool) []string {
	var lines []string
	say := func(n int, done, would string) {
		if n > 0 {
			text := done
			if dryRun {
				text = would
			}
			lines = append(lines, fmt.Sprintf(text, n))
		}
	}
	say(len(r.BadIndex), "index files that cannot be read, replaced: %d", "index files that cannot be read, to be replaced: %d")
	say(len(r.Listed), "sound packs that no index listed, listed again: %d", "sound packs that no index lists, to be listed again: %d")
	say(r.Saved, "pieces of content copied out of bad packs: %d", "pieces of content to be copied out of bad packs: %d")
	say(r.Fetched, "pieces of content fetched from another destination: %d", "pieces of content to be fetched from another destination: %d")
	for _, id := range r.SetAside {
		text := "pack " + id.String() + " is bad or gone, and is listed no more"
		if dryRun {
			text = "pack " + id.String() + " is bad or gone, and would be listed no more"
		}
		lines = append(lines, text)
	}
	say(len(r.Lost), "pieces of content that no copy was found of: %d; the next backup stores again what the source still has",
		"pieces of content that no copy is found of: %d; the next backup after a repair stores again what the source still has")
	for _, p := range r.Before.Problems {
		if p.Kind == ProblemSnapshot {
			lines = append(lines, p.Text+"; nothing can mend it, and it is left as it is")
		}
	}
	return lines
}
