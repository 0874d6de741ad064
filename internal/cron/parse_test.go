package cron_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/adhocore/gronx"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// C2: every refusal, with its exact text.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const five = "(minute hour day-of-month month day-of-week)"
	const disagree = " (cron implementations disagree whether both or either must match); write the days out, e.g. "
	tests := []struct {
		expr  string
		field int
		value string
		want  string
	}{
		{"", 0, "", "is empty; write five fields " + five + ", e.g. 30 2 * * *"},
		{" \t ", 0, "", "is empty; write five fields " + five + ", e.g. 30 2 * * *"},
		{"*", 0, "", "has 1 field, expected 5 " + five},
		{"* * * *", 0, "", "has 4 fields, expected 5 " + five},
		{"0 0 3 * * *", 0, "", "has 6 fields, expected 5 " + five + "; seconds, years, users and comments are not supported; without the first field it is 0 3 * * *"},
		{"*/5 0 3 * * *", 0, "", "has 6 fields, expected 5 " + five + "; seconds, years, users and comments are not supported"},
		{"0 3 * * * root", 0, "", "has 6 fields, expected 5 " + five + "; seconds, years, users and comments are not supported"},
		{"0 0 3 * * * 2027", 0, "", "has 7 fields, expected 5 " + five + "; seconds, years, users and comments are not supported"},
		{"@every 5m", 0, "", `unknown macro "@every 5m"; intervals are not cron; write */5 * * * *`},
		{"@every 1m", 0, "", `unknown macro "@every 1m"; intervals are not cron; write * * * * *`},
		{"@every 60m", 0, "", `unknown macro "@every 60m"; intervals are not cron; write 0 * * * *`},
		{"@Every 6h", 0, "", `unknown macro "@Every 6h"; intervals are not cron; write 0 */6 * * *`},
		{"@every 24h", 0, "", `unknown macro "@every 24h"; intervals are not cron; write 0 0 * * *`},
		{"@every 7h", 0, "", `unknown macro "@every 7h"; intervals are not cron; write e.g. */15 * * * *`},
		{"@every 90s", 0, "", `unknown macro "@every 90s"; intervals are not cron; write e.g. */15 * * * *`},
		{"@every", 0, "", `unknown macro "@every"; intervals are not cron; write e.g. */15 * * * *`},
		{"@5minutes", 0, "", `unknown macro "@5minutes"; intervals are not cron; write e.g. */15 * * * *`},
		{"@always", 0, "", `unknown macro "@always"; intervals are not cron; write e.g. */15 * * * *`},
		{"@everysecond", 0, "", `unknown macro "@everysecond"; intervals are not cron; write e.g. */15 * * * *`},
		{"@reboot", 0, "", `unknown macro "@reboot"; there is no boot event to run on`},
		{"@foo", 0, "", `unknown macro "@foo"; use one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually`},
		{"@daily 5", 0, "", `unknown macro "@daily 5"; use one of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually`},
		{"CRON_TZ=UTC 0 3 * * *", 0, "", "a time zone prefix is not supported; set the schedule's time zone instead"},
		{"tz=UTC 0 3 * * *", 0, "", "a time zone prefix is not supported; set the schedule's time zone instead"},
		{"5 4\n* * *", 0, "", "contains control character 0x0a at byte 4; write the expression on one line"},
		{"5 4 * * *\r\n", 0, "", "contains control character 0x0d at byte 10; write the expression on one line"},
		{"5 4 * * *\x00", 0, "", "contains control character 0x00 at byte 10; write the expression on one line"},
		{"５ 4 * * *", 0, "", "contains a non-ASCII character at byte 1; use plain digits, letters and blanks"},
		{strings.Repeat("1,", 150) + "1 * * * *", 0, "", "is 309 bytes long, at most 256 are allowed"},
		{"61 * * * *", 1, "61", `field 1 (minute) "61": 61 is out of range 0-59`},
		{"5,99 * * * *", 1, "99", `field 1 (minute) "99": 99 is out of range 0-59`},
		{"1000 * * * *", 1, "1000", `field 1 (minute) "1000": 1000 is out of range 0-59`},
		{"0 24 * * *", 2, "24", `field 2 (hour) "24": 24 is out of range 0-23`},
		{"0 0 0 * *", 3, "0", `field 3 (day-of-month) "0": 0 is out of range 1-31`},
		{"0 0 32W * *", 3, "32W", `field 3 (day-of-month) "32W": 32 is out of range 1-31`},
		{"0 0 * 13 *", 4, "13", `field 4 (month) "13": 13 is out of range 1-12`},
		{"0 0 * 0/3 *", 4, "0/3", `field 4 (month) "0/3": 0 is out of range 1-12`},
		{"0 0 * * 8", 5, "8", `field 5 (day-of-week) "8": 8 is out of range 0-7`},
		{"0 0 * * 8L", 5, "8L", `field 5 (day-of-week) "8L": 8 is out of range 0-7`},
		{"0 0 * * FRI-MON", 5, "FRI-MON", `field 5 (day-of-week) "FRI-MON": the range runs backwards; write FRI-SAT,SUN-MON`},
		{"0 22-2 * * *", 2, "22-2", `field 2 (hour) "22-2": the range runs backwards; write 22-23,0-2`},
		{"0 0 * nov-feb *", 4, "nov-feb", `field 4 (month) "nov-feb": the range runs backwards; write NOV-DEC,JAN-FEB`},
		{"*/90 * * * *", 1, "*/90", `field 1 (minute) "*/90": step 90 is larger than the range 0-59 and would select only 0; write 0`},
		{"*/60 * * * *", 1, "*/60", `field 1 (minute) "*/60": step 60 is larger than the range 0-59 and would select only 0; write 0`},
		{"0 0 */31 * *", 3, "*/31", `field 3 (day-of-month) "*/31": step 31 is larger than the range 1-31 and would select only 1; write 1`},
		{"0-5/10 * * * *", 1, "0-5/10", `field 1 (minute) "0-5/10": step 10 is larger than the range 0-5 and would select only 0; write 0`},
		{"*/0 * * * *", 1, "*/0", `field 1 (minute) "*/0": the step must be at least 1`},
		{"*/-5 * * * *", 1, "*/-5", `field 1 (minute) "*/-5": the step "-5" is not a number; write a whole number after /`},
		{"*/+5 * * * *", 1, "*/+5", `field 1 (minute) "*/+5": the step "+5" is not a number; write a whole number after /`},
		{"0 0 * * 5/2", 5, "5/2", `field 5 (day-of-week) "5/2": a step needs a range here; write e.g. 5-6/2`},
		{"MON * * * *", 1, "MON", `field 1 (minute) "MON": MON is a day-of-week name`},
		{"0 DEC * * *", 2, "DEC", `field 2 (hour) "DEC": DEC is a month name`},
		{"0 0 * DECEMBER *", 4, "DECEMBER", `field 4 (month) "DECEMBER": "DECEMBER" is not a name; use the three-letter form DEC`},
		{"0 0 * * Monday", 5, "Monday", `field 5 (day-of-week) "Monday": "Monday" is not a name; use the three-letter form MON`},
		{"0 0 * JANFEB *", 4, "JANFEB", `field 4 (month) "JANFEB": "JANFEB" is not a number; write a number from 1 to 12 or a name such as JAN`},
		{"1-5-9 * * * *", 1, "1-5-9", `field 1 (minute) "1-5-9": "5-9" is not a number; write a number from 0 to 59`},
		{"+5 * * * *", 1, "+5", `field 1 (minute) "+5": "+5" is not a number; write a number from 0 to 59`},
		{"5- * * * *", 1, "5-", `field 1 (minute) "5-": a number is missing`},
		{"1,,2 * * * *", 1, "1,,2", `field 1 (minute) "1,,2": has an empty list item`},
		{"1, * * * *", 1, "1,", `field 1 (minute) "1,": has an empty list item`},
		{"*,5 * * * *", 1, "*,5", `field 1 (minute) "*,5": * cannot be part of a list`},
		{"5,*/7 * * * *", 1, "5,*/7", `field 1 (minute) "5,*/7": */7 cannot be part of a list; write the values out`},
		{"? * * * *", 1, "?", `field 1 (minute) "?": ? is only allowed in the two day fields; write *`},
		{"0 0 LW * *", 3, "LW", `field 3 (day-of-month) "LW": only plain L (last day of the month) is supported`},
		{"0 0 L-3 * *", 3, "L-3", `field 3 (day-of-month) "L-3": only plain L (last day of the month) is supported`},
		{"0 0 W * *", 3, "W", `field 3 (day-of-month) "W": only vW (the weekday nearest to day v) is supported; write e.g. 15W`},
		{"0 0 * * L", 5, "L", `field 5 (day-of-week) "L": L needs a day before it; write e.g. 5L for the last Friday of the month`},
		{"0 0 * * 1#6", 5, "1#6", `field 5 (day-of-week) "1#6": the week after # must be 1 to 5`},
		{"0 0 * * 1#2#3", 5, "1#2#3", `field 5 (day-of-week) "1#2#3": the week after # must be 1 to 5`},
		{"0 0 * * 8#1", 5, "8#1", `field 5 (day-of-week) "8#1": 8 is out of range 0-7`},
		{"H 3 * * *", 1, "H", `field 1 (minute) "H": "H" is not a number; write a number from 0 to 59`},
		{"0 0 */2 * 1", 3, "*/2", `field 3 (day-of-month) "*/2": a */n step cannot be combined with a restricted day-of-week field` + disagree + "1-31/2"},
		{"0 0 13 * */2", 5, "*/2", `field 5 (day-of-week) "*/2": a */n step cannot be combined with a restricted day-of-month field` + disagree + "0-6/2"},
		{"0 0 31 4,6 *", 3, "31", `field 3 (day-of-month) "31": this schedule never runs: none of the selected months has such a day; for the last day of the month write L`},
		{"0 0 30 2 *", 3, "30", `field 3 (day-of-month) "30": this schedule never runs: none of the selected months has such a day; for the last day of the month write L`},
		{"0 0 31W feb *", 3, "31W", `field 3 (day-of-month) "31W": this schedule never runs: none of the selected months has such a day; for the last day of the month write L`},
	}
	for _, test := range tests {
		t.Run(test.expr, func(t *testing.T) {
			t.Parallel()
			_, err := cron.Parse(test.expr)
			var bad *cron.ParseError
			if !errors.As(err, &bad) {
				t.Fatalf("Parse(%q) = %v, want a *ParseError", test.expr, err)
			}
			if bad.Field != test.field || bad.Value != test.value || bad.Reason() != test.want || bad.Expr != test.expr {
				t.Errorf("Parse(%q):\n got field %d, value %q: %s\nwant field %d, value %q: %s",
					test.expr, bad.Field, bad.Value, bad.Reason(), test.field, test.value, test.want)
			}
			// C5: only what selects no day is ErrNever.
			if got, want := errors.Is(err, cron.ErrNever), strings.Contains(test.want, "never runs"); got != want {
				t.Errorf("errors.Is(%v, ErrNever) = %v", err, got)
			}
			if cron.Same(test.expr, test.expr) {
				t.Error("an invalid expression is the same as itself")
			}
		})
	}
	if _, err := cron.Parse("61 * * * *"); err.Error() != `invalid cron expression "61 * * * *": field 1 (minute) "61": 61 is out of range 0-59` {
		t.Errorf("whole text: %v", err)
	}
}

// C1: spellings, their canonical form and their description.
func TestCanonicalAndDescription(t *testing.T) {
	t.Parallel()
	tests := []struct{ expr, canonical, text string }{
		{"@hourly", "0 * * * *", "every hour"},
		{"@Daily", "0 0 * * *", "every day at 00:00"},
		{"@midnight", "0 0 * * *", "every day at 00:00"},
		{"@weekly", "0 0 * * 0", "on Sunday at 00:00"},
		{"@monthly", "0 0 1 * *", "on the 1st of the month at 00:00"},
		{"@yearly", "0 0 1 1 *", "on the 1st of January at 00:00"},
		{"@annually", "0 0 1 1 *", "on the 1st of January at 00:00"},
		{"\t 05  007 * * * ", "5 7 * * *", "every day at 07:05"},
		{"* * * * *", "* * * * *", "every minute"},
		{"*/1 */1 */1 */1 */1", "* * * * *", "every minute"},
		{"*/15 * * * *", "*/15 * * * *", "every 15 minutes"},
		{"*/7 * * * *", "*/7 * * * *", "every hour at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56"},
		{"10,5,5 * * * *", "5,10 * * * *", "every hour at minutes 5 and 10"},
		{"30 2 ? * ?", "30 2 * * *", "every day at 02:30"},
		{"15,45 8,20 * * *", "15,45 8,20 * * *", "every day at 08:15, 08:45, 20:15 and 20:45"},
		{"0 */2 * * *", "0 */2 * * *", "every 2 hours from 00:00 to 22:00"},
		{"30 9-17 * * mon-fri", "30 9-17 * * 1-5", "every hour from 09:30 to 17:30 on Monday to Friday"},
		{"5,10,15,17 2-4,6 * * *", "5,10,15,17 2-4,6 * * *", "at minutes 5, 10, 15 and 17 during 02:00-04:59 and 06:00-06:59"},
		{"5/10 * * * *", "5/10 * * * *", "every hour at minutes 5, 15, 25, 35, 45 and 55"},
		{"58/1 * * * *", "58-59 * * * *", "every hour at minutes 58 and 59"},
		{"0 3 * * 7", "0 3 * * 0", "on Sunday at 03:00"},
		{"0 3 * * FRI-SUN", "0 3 * * 0,5-6", "on Friday to Sunday at 03:00"},
		{"0 3 * * 5-7/2", "0 3 * * 0,5", "on Friday and Sunday at 03:00"},
		{"0 3 * * 1-7/3", "0 3 * * 0,1-4/3", "on Monday, Thursday and Sunday at 03:00"},
		{"0 3 * * 0-7", "0 3 * * 0,0-6", "every day at 03:00"},
		{"0 3 * * 7L,7#2", "0 3 * * 0L,0#2", "on the 2nd Sunday of the month and the last Sunday of the month at 03:00"},
		{"0 0 L,15W,3 * *", "0 0 3,L,15W * *", "on the 3rd, the weekday nearest the 15th and the last day of the month at 00:00"},
		{"0 0 13 * 5", "0 0 13 * 5", "on the 13th of the month or on Friday (whichever matches) at 00:00"},
		{"0 4 */2 * *", "0 4 */2 * *", "on every 2nd day from the 1st to the 31st of the month at 04:00"},
		{"0 0 1 jan,jul *", "0 0 1 1,7 *", "on the 1st of January and July at 00:00"},
		{"30 2 * 6-8 *", "30 2 * 6-8 *", "every day in June to August at 02:30"},
		{"0 0 1-31 * 5", "0 0 1-31 * 5", "every day at 00:00"},
	}
	for _, test := range tests {
		s := parse(t, test.expr)
		if s.Canonical() != test.canonical || s.Describe() != test.text || s.String() != test.expr {
			t.Errorf("%q\n got %q, %q\nwant %q, %q", test.expr, s.Canonical(), s.Describe(), test.canonical, test.text)
		}
		if !cron.Same(test.expr, test.canonical) {
			t.Errorf("%q is not the same as its canonical form", test.expr)
		}
	}
	if got := parse(t, "30 2 * * *").DescribeIn("Europe/Berlin"); got != "every day at 02:30 Europe/Berlin" {
		t.Errorf("DescribeIn = %q", got)
	}
	if got := parse(t, "*/15 * * * 1").DescribeIn("Asia/Tokyo"); got != "every 15 minutes on Monday (Asia/Tokyo)" {
		t.Errorf("DescribeIn = %q", got)
	}
}

// C1: equal are those with the same sets and the same day rule.
func TestSame(t *testing.T) {
	t.Parallel()
	tests := []struct {
		a, b string
		want bool
	}{
		{"@daily", "0 0 * * *", true},
		{"0 0 * * 1-5", "0 0 * * MON,TUE,WED,THU,FRI", true},
		{"0,30 * * * *", "*/30 * * * *", true},
		{"0 0 1-31 * *", "0 0 * * *", true},
		{"0 0 * * 0-6", "0 0 * * *", true},
		{"0 0 1-31 * 5", "0 0 * * *", true},
		{"0 0 * * 7", "0 0 ? * 0", true},
		{"0 0 * * 1,1#2", "0 0 * * 1", true},
		{"0 0 13 * 5", "0 0 * * 5", false},
		{"0 0 13 * *", "0 0 13 * 5", false},
		{"0 0 L * *", "0 0 31 * *", false},
		{"0 0 15W * *", "0 0 15 * *", false},
		{"0 0 * * *", "1 0 * * *", false},
		{"0 0 * * *", "61 0 * * *", false},
	}
	for _, test := range tests {
		if got := cron.Same(test.a, test.b); got != test.want || cron.Same(test.b, test.a) != test.want {
			t.Errorf("Same(%q, %q) = %v, want %v", test.a, test.b, got, test.want)
		}
	}
}

// C1, C2, C8: the canonical form is a fixed point with the same runs, gronx
// accepts it, and case does not matter.
func TestCanonicalIsAFixedPoint(t *testing.T) {
	t.Parallel()
	r := source(t)
	for range cases(3000, 100000) {
		s, _ := randomSchedule(t, r)
		again := parse(t, s.Canonical())
		lower := parse(t, strings.ToLower(s.String()))
		if again.Canonical() != s.Canonical() || !again.Equal(s) || !lower.Equal(s) {
			t.Fatalf("%q: canonical %q, of that %q", s, s.Canonical(), again.Canonical())
		}
		if !gronx.IsValid(s.Canonical()) {
			t.Fatalf("gronx refuses %q, the canonical form of %q", s.Canonical(), s)
		}
		if s.Describe() == "" || strings.Contains(s.Describe(), "  ") {
			t.Fatalf("%q is described as %q", s, s.Describe())
		}
	}
}

// C3 and the other warnings, with their texts.
func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := map[string][]cron.Warning{
		"30 2 * * *":       nil,
		"*/15 */6 * * *":   nil,
		"5-59/10 * * * *":  nil,
		"0-20/7 * * * *":   nil,
		"0 0 28 * *":       nil,
		"0 0 L * *":        nil,
		"0 0 31 1,3,5 *":   nil,
		"0 0 1,31 * *":     nil,
		"0 0 * * 1#4":      nil,
		"0 9-17/5 * * 1-5": nil,
		"*/40 * * * *": {{cron.RuleUnevenStep, 1,
			`"*/40" selects minutes 0 and 40, so the runs are 40 minutes apart and, at the end of each hour, only 20. A step that divides 60 is even.`}},
		"0 */9 * * *": {{cron.RuleUnevenStep, 2,
			`"*/9" selects hours 0, 9 and 18, so the runs are 9 hours apart and, at the end of each day, only 6. A step that divides 24 is even.`}},
		"0 0 1 */5 *": {{cron.RuleUnevenStep, 4,
			`"*/5" starts again each January, so the distance around the end of a year is 2 and not 5 months. A step that divides 12 is even.`}},
		"0 0 * * */2": {{cron.RuleUnevenStep, 5,
			`"*/2" starts again each Sunday, so the distance around the end of a week is 1 and not 2 days. Write the days out, e.g. MON,WED,FRI.`}},
		"0 0 */2 * *": {{cron.RuleUnevenStep, 3,
			`"*/2" starts again on day 1 of each month, so the distance around the end of a month is not 2 days. For an even rhythm choose days of the week.`}},
		"0 3 31 * *": {{cron.RuleSkipsMonths, 3,
			`"0 3 31 * *" does not run in February, April, June, September and November; the longest gap is 61 days. Use day 28, or L for the last day of the month.`}},
		"0 3 29,30 * *": {{cron.RuleSkipsMonths, 3,
			`"0 3 29,30 * *" does not run in February (but for leap years); the longest gap is 58 days. Use day 28, or L for the last day of the month.`}},
		"0 3 * * 5#5": {{cron.RuleSkipsMonths, 5,
			`"0 3 * * 5#5" does not run in months that lack one; the longest gap is 119 days. Use a week from 1 to 4, or e.g. 5L for the last Friday.`}},
		"0 3 13 * 5": {{cron.RuleDayOr, 5,
			`"0 3 13 * 5" runs on the 13th of the month and also on Friday, whichever matches: cron joins the two day fields with "or". That is about 62 runs a year. Set one of them to * to have only the other.`}},
	}
	for expr, want := range tests {
		got := parse(t, expr).Warnings()
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("Warnings(%q)\n got %+v\nwant %+v", expr, got, want)
		}
	}
}

// C6: zones come from the compiled-in database only.
func TestLoadZone(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"":              "time zone name is empty; write an IANA name such as UTC or Europe/Berlin",
		"Local":         `"Local" is not an IANA time zone; write a name such as UTC or Europe/Berlin`,
		"localtime":     `"localtime" is not an IANA time zone; write a name such as UTC or Europe/Berlin`,
		"../etc/passwd": `"../etc/passwd" is not an IANA time zone; write a name such as UTC or Europe/Berlin`,
		"berlin":        `"berlin" is not an IANA time zone; did you mean "Europe/Berlin"?`,
		"new york":      `"new york" is not an IANA time zone; did you mean "America/New_York"?`,
		"a\nb":          `"a\nb" is not an IANA time zone; write a name such as UTC or Europe/Berlin`,
	} {
		_, err := cron.LoadZone(name)
		var bad *cron.ZoneError
		if !errors.As(err, &bad) || bad.Name != name || err.Error() != want {
			t.Errorf("LoadZone(%q)\n got %v\nwant %s", name, err, want)
		}
	}
	_, err := cron.LoadZone("Europe/Berlni")
	var bad *cron.ZoneError
	if !errors.As(err, &bad) || len(bad.Suggestions) == 0 || bad.Suggestions[0] != "Europe/Berlin" {
		t.Errorf("LoadZone(Europe/Berlni) = %v", err)
	}
	for _, name := range cron.Zones() {
		loc := zone(t, name)
		if loc.String() != name || zone(t, name) != loc {
			t.Errorf("LoadZone(%q) = %s, or not the same pointer twice", name, loc)
		}
	}
	if n := len(cron.Zones()); n < 400 {
		t.Errorf("the database has %d zones", n)
	}
	// The embedded data agree with what Go finds on this host.
	host, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("this host has no time zone database")
	}
	for at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2030; at = at.Add(6 * time.Hour) {
		if a, b := at.In(host).String(), at.In(zone(t, "Europe/Berlin")).String(); a != b {
			t.Fatalf("host says %s, embedded database %s", a, b)
		}
	}
}

func TestFieldName(t *testing.T) {
	t.Parallel()
	want := []string{"expression", "minute", "hour", "day-of-month", "month", "day-of-week", "expression"}
	for i, name := range want {
		if got := cron.FieldName(i); got != name {
			t.Errorf("FieldName(%d) = %q", i, got)
		}
	}
}

// C1, C2, C8 on arbitrary input: no panic, one printable line, and what is
// accepted runs as the oracle says.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"* * * * *", "@daily", "0 0 30 2 *", "0 0 L,15W * 5L,1#2", "*/7 0-23/5 ? jan-MAR SUN", "1,,2 * * * *", "@every 5m", "TZ=x 1", "\x00", "5-7/2 * * * 5-7/2", "- - - - -"} {
		f.Add(seed, int64(1774000000))
	}
	f.Fuzz(func(t *testing.T, expr string, at int64) {
		s, err := cron.Parse(expr)
		if err != nil {
			text := err.Error()
			if len(text) > 700 || strings.ContainsFunc(text, func(r rune) bool { return r > 126 || !unicode.IsPrint(r) }) {
				t.Fatalf("not one printable line: %q", text)
			}
			return
		}
		again, err := cron.Parse(s.Canonical())
		if err != nil || !again.Equal(s) || again.Canonical() != s.Canonical() {
			t.Fatalf("%q has the canonical form %q: %v", expr, s.Canonical(), err)
		}
		after := time.Unix(((at%4e9)+4e9)%4000000000, 0).UTC()
		got, err := s.Next(after, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		// The oracle knows no macros; their canonical form is plain.
		if want, ok := newOracle(s.Canonical()).nextUTC(after); !ok || !got.Equal(want) {
			t.Fatalf("Next(%q, %s) = %s, the oracle says %s", expr, after, got, want)
		}
	})
}
