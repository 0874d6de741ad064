package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// execute runs a command line that needs no daemon.
func execute(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	a := &app{version: "test", in: strings.NewReader(""), out: &stdout, err: &stderr}
	code = a.run(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

func TestRetentionSimulate(t *testing.T) {
	t.Parallel()
	code, out, errs := execute(t, "retention", "simulate", "--cron", "0 0 * * *", "--after", "2026-01-01T00:00:00Z",
		"--keep-daily", "20", "--horizon", "5d", "--json")
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var got simulation
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for what, pair := range map[string][2]int{
		"day": {got.Day.Backups, 1}, "month": {got.Month.Backups, 20}, "year": {got.Year.Backups, 20},
		"steady": {got.Steady.Backups, 20}, "horizon": {got.Horizon.Backups, 5},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %d backups, want %d", what, pair[0], pair[1])
		}
	}
	if got.Year.Age != "19d" || got.Unbounded || got.MaxBackups != 20 {
		t.Errorf("after a year: %+v, want the oldest 19d old, and at most 20", got)
	}
	if code, out, _ := execute(t, "retention", "simulate", "--cron", "0 0 * * *", "--keep-all"); code != 0 || !strings.Contains(out, "never steady") {
		t.Errorf("keep-all: exit code %d, %s", code, out)
	}
}

// S8: blackout windows count on the command line as in a plan.
func TestBlackoutWithoutADaemon(t *testing.T) {
	t.Parallel()
	code, out, errs := execute(t, "cron", "next", "--count", "4", "--after", "2026-03-06T07:30:00Z", // a Friday
		"--blackout", "MON-FRI 09:00-17:15", "--blackout", "SAT,SUN 00:00-24:00 skip", "0 */8 * * *")
	want := "2026-03-06T08:00:00Z\n2026-03-06T17:15:00Z\n2026-03-09T00:00:00Z\n2026-03-09T08:00:00Z\n"
	if code != 0 || out != want {
		t.Errorf("cron next: exit code %d, %s%s, want %s", code, out, errs, want)
	}
	code, out, errs = execute(t, "retention", "simulate", "--cron", "0 0 * * *", "--after", "2026-03-02T12:00:00Z",
		"--keep-daily", "20", "--horizon", "14d", "--blackout", "SAT,SUN 00:00-24:00 skip", "--run-on-create", "--json")
	var got simulation
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("retention simulate: exit code %d, %v, %s%s", code, err, out, errs)
	}
	if got.Horizon.Backups != 11 || got.WorstCaseGap != "72h" || got.Summary != "every day at 00:00 UTC, outside of blackout windows; keeps at most 20 backups, the oldest about 28 days" {
		t.Errorf("retention simulate: %+v", got)
	}
}

// Wrong input is named with its flag's or attribute's name, and exits with 2.
func TestWrongInputWithoutADaemon(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--cron is required":        {"retention", "simulate", "--keep-last", "3"},
		"Retention keeps nothing":   {"retention", "simulate", "--cron", "0 0 * * *"},
		"61 is out of range":        {"retention", "simulate", "--cron", "61 * * * *", "--keep-last", "3"},
		"Europe/Berlin":             {"retention", "simulate", "--cron", "0 0 * * *", "--timezone", "Europe/Berln", "--keep-last", "3"},
		"unknown unit":              {"retention", "simulate", "--cron", "0 0 * * *", "--period", "3x"},
		"floor cannot be 0":         {"retention", "simulate", "--cron", "0 0 * * *", "--keep-last", "3", "--keep-at-least", "0"},
		"at most 50y":               {"retention", "simulate", "--cron", "0 0 * * *", "--keep-last", "3", "--horizon", "60y"},
		"RFC 3339":                  {"retention", "simulate", "--cron", "0 0 * * *", "--keep-last", "3", "--after", "now"},
		"the times are missing":     {"retention", "simulate", "--cron", "0 0 * * *", "--keep-last", "3", "--blackout", "MON"},
		"skip|defer":                {"cron", "next", "--blackout", "MON 09:00-10:00 skip it", "0 0 * * *"},
		"is not a time of day":      {"cron", "next", "--blackout", "9:00-10:00", "0 0 * * *"},
		"not one of":                {"cron", "next", "--blackout", "09:00-10:00 stop", "0 0 * * *"},
		"Blackout leaves no run":    {"cron", "next", "--blackout", "00:00-10:00 skip", "0 0 * * *"},
		"write it in quotes":        {"cron", "next", "30", "2", "*", "*", "*"},
		"the expression is missing": {"cron", "explain"},
	} {
		if code, _, errs := execute(t, args...); code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%q: exit code %d and %q, want 2 and %q", args, code, errs, want)
		}
	}
}

// An error that is its first finding is said once.
func TestAFindingIsSaidOnce(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	a := &app{err: &stderr}
	a.printError(envbackup.Invalid(
		envbackup.Finding{Severity: envbackup.SeverityError, Path: "cron", Summary: "Invalid", Detail: "the first"},
		envbackup.Finding{Severity: envbackup.SeverityError, Path: "retention", Summary: "Empty", Detail: "the second"},
	))
	const want = "Error: cron: Invalid\n  the first\n  error retention: Empty\n    the second\n"
	if stderr.String() != want {
		t.Errorf("printed %q, want %q", stderr.String(), want)
	}
}

// cron explain names the whole expression where no field is to blame.
func TestExplainNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]explanationFail{
		"@every 5m":  {Field: 0, Value: "@every 5m"},
		"61 * * * *": {Field: 1, Value: "61"},
	} {
		code, out, _ := execute(t, "cron", "explain", "--json", expression)
		var got explanation
		if err := json.Unmarshal([]byte(out), &got); err != nil || got.Error == nil || code != 2 {
			t.Fatalf("%s: exit code %d, %v, %s", expression, code, err, out)
		}
		if got.Error.Field != want.Field || got.Error.Value != want.Value {
			t.Errorf("%s: %+v, want field %d and value %q", expression, got.Error, want.Field, want.Value)
		}
	}
}
