package retention_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// spec reads a retention block as the API writes it.
func spec(t testing.TB, text string) retention.Spec {
	t.Helper()
	var s retention.Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func policy(t testing.TB, text string) retention.Policy {
	t.Helper()
	p, err := spec(t, text).Policy()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// SEMANTICS section 3: what is refused, and the words.
func TestPolicyRefuses(t *testing.T) {
	t.Parallel()
	nothing := retention.FieldError{Msg: "nothing in this block keeps anything, so every backup but the last would be deleted",
		Hint: `set for example period = "30d" or keep_daily = 14, or keep_all = true to never delete`}
	tests := map[string]struct {
		spec string
		want retention.FieldErrors
	}{
		"an empty block":         {`{}`, retention.FieldErrors{nothing}},
		"only zeros":             {`{"keep_last":0,"keep_daily":0}`, retention.FieldErrors{nothing}},
		"only limits":            {`{"max_age":"400d","manual_period":"7d","prune_grace":"1h"}`, retention.FieldErrors{nothing}},
		"keep_all false":         {`{"keep_all":false}`, retention.FieldErrors{nothing}},
		"a floor of 0":           {`{"keep_daily":7,"keep_at_least":0}`, retention.FieldErrors{{"keep_at_least", "0", "the floor cannot be 0: the last good backup is never deleted by a rule", "write 1 or leave it out"}}},
		"a negative count":       {`{"keep_daily":-1}`, retention.FieldErrors{{"keep_daily", "-1", "it cannot be negative", "leave it out for no such rule, or keep_all = true to never delete"}}},
		"a count without end":    {`{"keep_last":9000000000}`, retention.FieldErrors{{"keep_last", "9000000000", "it is larger than 105408000", "write keep_all = true to never delete"}}},
		"an unknown unit":        {`{"period":"30x"}`, retention.FieldErrors{{"period", `"30x"`, `unknown unit "x"`, "units are m (minutes), h, d, w, mo (months) or y"}}},
		"a period of nothing":    {`{"period":"0d"}`, retention.FieldErrors{{"period", `"0d"`, "it must be longer than zero", "leave it out for no such rule, or write e.g. 30d"}}},
		"a max_age of nothing":   {`{"keep_last":1,"max_age":"0d"}`, retention.FieldErrors{{"max_age", `"0d"`, "it must be longer than zero", "leave it out for no such rule, or write e.g. 30d"}}},
		"keep_all and the floor": {`{"keep_all":true,"keep_at_least":3,"period":"1d"}`, retention.FieldErrors{{"keep_all", "true", "keep_all excludes every other rule, and period, keep_at_least is given too", "remove keep_all, or everything else"}}},
		"everything at once": {`{"period":"1","keep_daily":-3,"prune_grace":"x"}`, retention.FieldErrors{
			{"period", `"1"`, "the unit is missing", "write e.g. 1d; units are m (minutes), h, d, w, mo (months) or y"},
			{"keep_daily", "-3", "it cannot be negative", "leave it out for no such rule, or keep_all = true to never delete"},
			{"prune_grace", `"x"`, `a number is missing before "x"`, "write e.g. 30d or 1y6mo"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := spec(t, test.spec).Policy()
			var got retention.FieldErrors
			if !errors.As(err, &got) {
				t.Fatalf("Policy(%s) = %v", test.spec, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Policy(%s) (-want +got):\n%s", test.spec, diff)
			}
		})
	}
	_, err := spec(t, `{"keep_daily":-1}`).Policy()
	if want := "invalid retention: keep_daily = -1: it cannot be negative; leave it out for no such rule, or keep_all = true to never delete"; err.Error() != want {
		t.Errorf("Error() = %q", err)
	}
}

func TestPolicyDefaultsAndEqual(t *testing.T) {
	t.Parallel()
	p := policy(t, `{"keep_daily":7}`)
	if p.AtLeast != 1 || p.ManualPeriod.String() != "30d" || p.PruneGrace.String() != "1d" || !p.MaxAge.IsZero() {
		t.Errorf("defaults: %+v", p)
	}
	policy(t, `{"keep_at_least":3}`) // a floor that is written out keeps something
	policy(t, `{"keep_last":1,"manual_period":"0h","prune_grace":"0m"}`)
	tests := []struct {
		a, b string
		want bool
	}{
		{`{"period":"24h"}`, `{"period":"1d"}`, true},
		{`{"period":"12mo"}`, `{"period":"1y"}`, true},
		{`{"period":"30d"}`, `{"period":"1mo"}`, false},
		{`{"keep_last":1}`, `{"keep_last":1,"keep_daily":0,"keep_at_least":1,"manual_period":"720h","prune_grace":"24h"}`, true},
		{`{"keep_last":1}`, `{"keep_last":2}`, false},
		{`{"keep_all":true}`, `{"keep_all":true}`, true},
		{`{"period":"x"}`, `{"period":"x"}`, true},
		{`{"period":"x"}`, `{"period":"y"}`, false},
		{`{}`, `{"keep_last":0}`, false},
	}
	for _, test := range tests {
		a, b := spec(t, test.a), spec(t, test.b)
		if a.Equal(b) != test.want || b.Equal(a) != test.want {
			t.Errorf("%s and %s: Equal is not %v", test.a, test.b, test.want)
		}
	}
	written, err := json.Marshal(spec(t, `{"period":"30d","keep_daily":0}`))
	if err != nil || string(written) != `{"period":"30d","keep_daily":0}` {
		t.Errorf("JSON: %s, %v", written, err)
	}
}
