package cron

import (
	"archive/zip"
	"bytes"
	"cmp"
	_ "embed" // the time zone database
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// zoneinfo is the time zone database in the form of the Go distribution. It is
// embedded here, and not through time/tzdata, because time.LoadLocation asks
// the host first: a daemon and a laptop with different databases would then
// disagree about the same schedule.
//
//go:generate sh -c "cp \"$(go env GOROOT)/lib/time/zoneinfo.zip\" zoneinfo.zip"
//go:embed zoneinfo.zip
var zoneinfo []byte

// ZoneError reports a name that is no IANA time zone.
type ZoneError struct {
	Name        string
	Suggestions []string // the nearest names, best first, at most three
}

func (e *ZoneError) Error() string {
	switch {
	case e.Name == "":
		return "time zone name is empty; write an IANA name such as UTC or Europe/Berlin"
	case len(e.Suggestions) == 0:
		return quote(e.Name) + " is not an IANA time zone; write a name such as UTC or Europe/Berlin"
	}
	quoted := make([]string, len(e.Suggestions))
	for i, s := range e.Suggestions {
		quoted[i] = quote(s)
	}
	return quote(e.Name) + " is not an IANA time zone; did you mean " + strings.Join(quoted, " or ") + "?"
}

// LoadZone returns the zone of an IANA name from the compiled-in database.
// The error is a *ZoneError; it also refuses "" and "Local", whose meaning
// depends on the host. Equal names give the same pointer.
func LoadZone(name string) (*time.Location, error) {
	if name == "UTC" {
		return time.UTC, nil
	}
	if loc, ok := loaded.Load(name); ok {
		return loc.(*time.Location), nil //nolint:forcetypeassert // nothing else is stored
	}
	f, ok := zoneFiles()[name]
	if !ok {
		return nil, &ZoneError{Name: name, Suggestions: nearestZones(name)}
	}
	data, err := readZone(f)
	if err != nil {
		return nil, fmt.Errorf("read time zone %s: %w", name, err)
	}
	loc, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, fmt.Errorf("read time zone %s: %w", name, err)
	}
	first, _ := loaded.LoadOrStore(name, loc)
	return first.(*time.Location), nil //nolint:forcetypeassert // nothing else is stored
}

// loaded holds the zones that were asked for, by name. Only names of the
// database get in, so it cannot grow without bound.
var loaded sync.Map

// zoneFiles indexes the database by name, once.
var zoneFiles = sync.OnceValue(func() map[string]*zip.File {
	r, err := zip.NewReader(bytes.NewReader(zoneinfo), int64(len(zoneinfo)))
	if err != nil {
		panic("embedded time zone database is broken: " + err.Error())
	}
	files := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		// Factory is the database's "not configured" and no zone of a person.
		if !strings.HasSuffix(f.Name, "/") && f.Name != "Factory" {
			files[f.Name] = f
		}
	}
	return files
})

func readZone(f *zip.File) ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// Zones returns all names that LoadZone accepts, sorted.
func Zones() []string {
	names := []string{"UTC"}
	for name := range zoneFiles() {
		if name != "UTC" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// nearestZones returns up to three names that resemble name, best first: in
// any case of letters, by the whole or by the city alone.
func nearestZones(name string) []string {
	wanted := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(name), " ", "_"))
	if wanted == "" || wanted == "local" || len(wanted) > 64 {
		return nil
	}
	type scored struct {
		name     string
		distance int
	}
	var found []scored
	for zone := range zoneFiles() {
		lower := strings.ToLower(zone)
		d := distance(wanted, lower)
		near := d <= 1+len(wanted)/4
		if i := strings.LastIndexByte(lower, '/'); i >= 0 {
			city := wanted[strings.LastIndexByte(wanted, '/')+1:]
			// One more than the city's own distance, so that "berlin" finds
			// Europe/Berlin but a full match of the name still comes first.
			if c := distance(city, lower[i+1:]); c <= len(city)/4 {
				d, near = min(d, c+1), true
			}
		}
		if near {
			found = append(found, scored{zone, d})
		}
	}
	slices.SortFunc(found, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var names []string
	for _, s := range found[:min(3, len(found))] {
		names = append(names, s.name)
	}
	return names
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
