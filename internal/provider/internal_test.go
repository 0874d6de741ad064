package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// TestAttributePath: findings name attributes as Terraform writes them.
func TestAttributePath(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want path.Path
		ok   bool
	}{
		"an attribute":            {"cron", path.Root("cron"), true},
		"a nested attribute":      {"retention.keep_daily", path.Root("retention").AtName("keep_daily"), true},
		"an element":              {"destinations[1]", path.Root("destinations").AtListIndex(1), true},
		"below a map":             {`files["app"].path`, path.Root("files").AtMapKey("app").AtName("path"), true},
		"a key with odd letters":  {`files["a\"]b"].exclude[0]`, path.Root("files").AtMapKey(`a"]b`).AtName("exclude").AtListIndex(0), true},
		"the whole":               {"", path.Empty(), false},
		"an unclosed bracket":     {"destinations[1", path.Empty(), false},
		"a name that is missing":  {"retention.", path.Empty(), false},
		"a key that is no number": {"destinations[x]", path.Empty(), false},
		"something after a key":   {"destinations[1]x", path.Empty(), false},
	}
	for name, test := range tests {
		got, ok := attributePath(test.text)
		if ok != test.ok || !got.Equal(test.want) {
			t.Errorf("%s: %q is read as %s, %t; want %s, %t", name, test.text, got, ok, test.want, test.ok)
		}
	}
}

// TestExactPath (facts of Terraform before 1.15): two steps at most, and a
// nested attribute as a map key.
func TestExactPath(t *testing.T) {
	t.Parallel()
	p := tftypes.NewAttributePath()
	tests := map[string]struct{ given, want *tftypes.AttributePath }{
		"one step stays":        {p.WithAttributeName("cron"), p.WithAttributeName("cron")},
		"a nested attribute":    {p.WithAttributeName("retention").WithAttributeName("period"), p.WithAttributeName("retention").WithElementKeyString("period")},
		"three steps are cut":   {p.WithAttributeName("files").WithElementKeyString("app").WithAttributeName("path"), p.WithAttributeName("files").WithElementKeyString("app")},
		"a list index stays":    {p.WithAttributeName("destinations").WithElementKeyInt(1), p.WithAttributeName("destinations").WithElementKeyInt(1)},
		"no path stays no path": {nil, nil},
	}
	for name, test := range tests {
		if got := exactPath(test.given); !got.Equal(test.want) {
			t.Errorf("%s: %s becomes %s, want %s", name, test.given, got, test.want)
		}
	}
}

// TestSpellings: what is equal in other words, and that nothing unreadable is
// equal to anything but itself.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		notation notation
		a, b     string
		want     bool
	}{
		{cronNotation, "@daily", "0 0 * * *", true},
		{cronNotation, "0 0 * * 7", "0 0 * * 0", true},
		{cronNotation, "0 0 * * *", "0 1 * * *", false},
		{cronNotation, "nonsense", "nonsense", true}, // equal text, whatever it means
		{cronNotation, "nonsense", "0 0 * * *", false},
		{weekdayNotation, "MON-FRI", "1-5", true},
		{weekdayNotation, "sat,sun", "0,6", true},
		{weekdayNotation, "6-7", "SAT,SUN", true},
		{weekdayNotation, "1-5", "1-6", false},
		{weekdayNotation, "Mo-Fr", "1-5", false},
		{durationNotation, "24h", "1d", true},
		{durationNotation, "1mo", "30d", false},
		{durationNotation, "3fortnights", "42d", false},
	} {
		if got := test.notation.same(test.a, test.b); got != test.want {
			t.Errorf("same(%q, %q) = %t, want %t", test.a, test.b, got, test.want)
		}
	}
}

// TestSentence: errors of the daemon become sentences.
func TestSentence(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{
		"": "", "nothing answers": "Nothing answers.", "Is it?": "Is it?", `write "x"`: `Write "x"`,
	} {
		if got := sentence(given); got != want {
			t.Errorf("sentence(%q) = %q, want %q", given, got, want)
		}
	}
}
