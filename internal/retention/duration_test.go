package retention_test

import (
	"errors"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := cron.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// SEMANTICS section 3: durations are whole numbers with units, combinable.
func TestParseDuration(t *testing.T) {
	t.Parallel()
	const hour = time.Hour
	valid := map[string]struct {
		want      retention.Duration
		canonical string
	}{
		"90m":     {retention.Duration{Fixed: 90 * time.Minute}, "1h30m"},
		"36h":     {retention.Duration{Fixed: 36 * hour}, "1d12h"},
		"24h":     {retention.Duration{Fixed: 24 * hour}, "1d"},
		"1d":      {retention.Duration{Fixed: 24 * hour}, "1d"},
		"30d":     {retention.Duration{Fixed: 720 * hour}, "30d"},
		"2w":      {retention.Duration{Fixed: 336 * hour}, "14d"},
		"1y6mo":   {retention.Duration{Months: 18}, "1y6mo"},
		"12mo":    {retention.Duration{Months: 12}, "1y"},
		"1y1d2h":  {retention.Duration{Months: 12, Fixed: 26 * hour}, "1y1d2h"},
		"0h":      {retention.Duration{}, "0m"},
		"007d":    {retention.Duration{Fixed: 168 * hour}, "7d"},
		"200y":    {retention.Duration{Months: 2400}, "200y"},
		"1mo1w1m": {retention.Duration{Months: 1, Fixed: 168*hour + time.Minute}, "1mo7d1m"},
	}
	for text, test := range valid {
		d, err := retention.ParseDuration(text)
		if err != nil || d != test.want || d.String() != test.canonical {
			t.Errorf("ParseDuration(%q) = %v (%s), %v; want %s", text, d, d, err, test.canonical)
		}
		if !retention.SameDuration(text, test.canonical) {
			t.Errorf("%q is not the same as %q", text, test.canonical)
		}
	}
	const units = "units are m (minutes), h, d, w, mo (months) or y"
	invalid := map[string]string{
		"":                      `invalid duration "": it is empty; write e.g. 30d or 1y6mo`,
		"30":                    `invalid duration "30": the unit is missing; write e.g. 30d; ` + units,
		"d":                     `invalid duration "d": a number is missing before "d"; write e.g. 30d or 1y6mo`,
		"-1d":                   `invalid duration "-1d": it is negative; write it without the minus sign`,
		"1.5d":                  `invalid duration "1.5d": unknown unit "."; write whole numbers, e.g. 1d12h for a day and a half`,
		"30s":                   `invalid duration "30s": unknown unit "s"; the smallest unit is the minute, e.g. 1m`,
		"3M":                    `invalid duration "3M": unknown unit "M"; write 3mo for months or 3m for minutes`,
		"30 days":               `invalid duration "30 days": unknown unit " days"; write 30d`,
		"2months":               `invalid duration "2months": unknown unit "months"; write 2mo`,
		"5min":                  `invalid duration "5min": unknown unit "min"; write 5m`,
		"1D":                    `invalid duration "1D": unknown unit "D"; write 1d`,
		"1q":                    `invalid duration "1q": unknown unit "q"; ` + units,
		"12h1d":                 `invalid duration "12h1d": units must come from the largest to the smallest, each once; write e.g. 1y6mo or 1d12h`,
		"1d1d":                  `invalid duration "1d1d": units must come from the largest to the smallest, each once; write e.g. 1y6mo or 1d12h`,
		"1d ":                   `invalid duration "1d ": unknown unit "d "; write 1d`,
		"201y":                  `invalid duration "201y": it is longer than 200 years; to keep backups for ever write keep_all = true`,
		"99999999999999999999d": `invalid duration "99999999999999999999d": it is longer than 200 years; to keep backups for ever write keep_all = true`,
		"200y1mo":               `invalid duration "200y1mo": it is longer than 200 years; to keep backups for ever write keep_all = true`,
	}
	for text, want := range invalid {
		_, err := retention.ParseDuration(text)
		var bad *retention.DurationError
		if !errors.As(err, &bad) || err.Error() != want {
			t.Errorf("ParseDuration(%q)\n got %v\nwant %s", text, err, want)
		}
		if retention.SameDuration(text, text) {
			t.Errorf("%q is invalid and the same as itself", text)
		}
	}
}

// Months and years are counted in the zone and end on the month's last day.
func TestBeforeAndAfterClampToTheMonth(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	tests := map[string]struct {
		from, length, before, after string
	}{
		"end of February":        {"2026-03-31T12:00:00+02:00", "1mo", "2026-02-28T12:00:00+01:00", "2026-04-30T12:00:00+02:00"},
		"leap year":              {"2028-03-31T12:00:00+02:00", "1mo", "2028-02-29T12:00:00+01:00", "2028-04-30T12:00:00+02:00"},
		"a year from a leap day": {"2028-02-29T12:00:00+01:00", "1y", "2027-02-28T12:00:00+01:00", "2029-02-28T12:00:00+01:00"},
		"days are 24 hours":      {"2026-03-29T12:00:00+02:00", "1d", "2026-03-28T11:00:00+01:00", "2026-03-30T12:00:00+02:00"},
		"the zone's own date":    {"2026-02-28T23:30:00Z", "1mo", "2026-02-01T00:30:00+01:00", "2026-04-01T00:30:00+02:00"},
		"months, then days":      {"2026-03-31T12:00:00+02:00", "1mo1d", "2026-02-27T12:00:00+01:00", "2026-05-01T12:00:00+02:00"},
		"over the year":          {"2026-01-15T00:00:00+01:00", "14mo", "2024-11-15T00:00:00+01:00", "2027-03-15T00:00:00+01:00"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := retention.ParseDuration(test.length)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Before(at(t, test.from), berlin); !got.Equal(at(t, test.before)) {
				t.Errorf("%s before %s is %s, want %s", d, test.from, got, test.before)
			}
			if got := d.After(at(t, test.from), berlin); !got.Equal(at(t, test.after)) {
				t.Errorf("%s after %s is %s, want %s", d, test.from, got, test.after)
			}
		})
	}
}

// What is accepted has a canonical form that means the same.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"30d", "1y6mo", "90m", "", "1d12h", "1.5d", "201y", "\xff3d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := retention.ParseDuration(text)
		if err != nil {
			return
		}
		again, err := retention.ParseDuration(d.String())
		if err != nil || again != d || d.Months < 0 || d.Fixed < 0 || d.Approx() < 0 {
			t.Fatalf("%q is %+v and written %q, which is %+v, %v", text, d, d, again, err)
		}
		now := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
		if !d.IsZero() && (!d.Before(now, time.UTC).Before(now) || !d.After(now, time.UTC).After(now)) {
			t.Fatalf("%s does not go back from %s", d, now)
		}
	})
}
