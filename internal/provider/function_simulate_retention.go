package provider

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

type simulateRetentionFunction struct{}

func newSimulateRetentionFunction() function.Function { return &simulateRetentionFunction{} }

type simulatedPoint struct {
	At      types.String `tfsdk:"at"`
	Backups types.Int64  `tfsdk:"backups"`
	Oldest  types.String `tfsdk:"oldest"`
	Age     types.String `tfsdk:"age"`
}

type simulation struct {
	Day       simulatedPoint `tfsdk:"day"`
	Month     simulatedPoint `tfsdk:"month"`
	Year      simulatedPoint `tfsdk:"year"`
	Steady    simulatedPoint `tfsdk:"steady"`
	Horizon   simulatedPoint `tfsdk:"horizon"`
	Unbounded types.Bool     `tfsdk:"unbounded"`
}

var (
	simulatedPointTypes = map[string]attr.Type{
		"at": types.StringType, "backups": types.Int64Type, "oldest": types.StringType, "age": types.StringType,
	}
	simulatedPointType = types.ObjectType{AttrTypes: simulatedPointTypes}
	simulationTypes    = map[string]attr.Type{
		"day": simulatedPointType, "month": simulatedPointType, "year": simulatedPointType,
		"steady": simulatedPointType, "horizon": simulatedPointType, "unbounded": types.BoolType,
	}
)

func (f *simulateRetentionFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "simulate_retention"
}

func (f *simulateRetentionFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "What a retention keeps over time",
		MarkdownDescription: "Replays every run of a schedule from an instant on, all of them successful, through the rules that prune, and returns what exists " +
			"after a day, 30 days, 365 days, in the steady state and at the horizon. Each is an object with `at`, `backups`, `oldest` (RFC 3339, null while there is none) " +
			"and `age` of the oldest; `unbounded` is true when the number never stops growing.",
		Parameters: []function.Parameter{
			function.MapParameter{
				Name: "retention", ElementType: types.StringType,
				MarkdownDescription: "The rules, with the names of a schedule's `retention`, such as `{ period = \"30d\", keep_monthly = 12 }`.",
			},
			expressionParameter(), timezoneParameter(), afterParameter(),
			function.StringParameter{Name: "horizon", MarkdownDescription: "How far to look ahead, such as `2y`; at most 50 years."},
		},
		Return: function.ObjectReturn{AttributeTypes: simulationTypes},
	}
}

func (f *simulateRetentionFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var rules map[string]*string
	var expression, timezone, after, horizonText string
	if resp.Error = req.Arguments.Get(ctx, &rules, &expression, &timezone, &after, &horizonText); resp.Error != nil {
		return
	}
	policy, wrongRules := parseRules(rules)
	schedule, wrongExpression := parseExpression(1, expression)
	loc, wrongZone := parseZone(2, timezone)
	from, wrongInstant := parseInstant(3, after)
	horizon, wrongHorizon := parseHorizon(4, horizonText)
	if resp.Error = function.ConcatFuncErrors(wrongRules, wrongExpression, wrongZone, wrongInstant, wrongHorizon); resp.Error != nil {
		return
	}
	s := retention.Simulate(policy, schedule, loc, from, horizon)
	resp.Error = resp.Result.Set(ctx, simulation{
		Day: simulated(s.Day, loc), Month: simulated(s.Month, loc), Year: simulated(s.Year, loc),
		Steady: simulated(s.Steady, loc), Horizon: simulated(s.Horizon, loc), Unbounded: types.BoolValue(s.Unbounded),
	})
}

func simulated(p retention.SimPoint, loc *time.Location) simulatedPoint {
	point := simulatedPoint{
		At: types.StringValue(p.At.In(loc).Format(time.RFC3339)), Backups: types.Int64Value(int64(p.Backups)),
		Oldest: types.StringNull(), Age: types.StringValue(cron.FormatGap(p.Age().Truncate(time.Minute))),
	}
	if !p.Oldest.IsZero() {
		point.Oldest = types.StringValue(p.Oldest.In(loc).Format(time.RFC3339))
	}
	return point
}

func parseHorizon(position int64, text string) (retention.Duration, *function.FuncError) {
	d, err := retention.ParseDuration(text)
	if err != nil {
		return d, function.NewArgumentFuncError(position, err.Error())
	}
	if fifty, _ := retention.ParseDuration("50y"); d.IsZero() || d.Compare(fifty) > 0 {
		return d, function.NewArgumentFuncError(position, "it must be longer than 0 and at most 50y")
	}
	return d, nil
}

// parseRules reads the retention as Terraform passes it: a map whose values
// were all turned into text. Null values count as not given.
func parseRules(rules map[string]*string) (retention.Policy, *function.FuncError) {
	var spec retention.Spec
	texts := map[string]*string{
		"period": &spec.Period, "max_age": &spec.MaxAge, "manual_period": &spec.ManualPeriod, "prune_grace": &spec.PruneGrace,
	}
	counts := map[string]**int64{
		"keep_last": &spec.KeepLast, "keep_hourly": &spec.KeepHourly, "keep_daily": &spec.KeepDaily, "keep_weekly": &spec.KeepWeekly,
		"keep_monthly": &spec.KeepMonthly, "keep_yearly": &spec.KeepYearly, "keep_at_least": &spec.KeepAtLeast,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		value := rules[name]
		if value == nil {
			continue
		}
		if text, ok := texts[name]; ok {
			*text = *value
			continue
		}
		if count, ok := counts[name]; ok {
			n, err := strconv.ParseInt(*value, 10, 64)
			if err != nil {
				return retention.Policy{}, function.NewArgumentFuncError(0, fmt.Sprintf("%s = %q is not a whole number", name, *value))
			}
			*count = &n
			continue
		}
		if name == "keep_all" {
			all, err := strconv.ParseBool(*value)
			if err != nil {
				return retention.Policy{}, function.NewArgumentFuncError(0, fmt.Sprintf("keep_all = %q is neither true nor false", *value))
			}
			spec.KeepAll = all
			continue
		}
		known := slices.Sorted(maps.Keys(retentionTypes))
		return retention.Policy{}, function.NewArgumentFuncError(0, fmt.Sprintf("there is no rule %q; rules are %s", name, strings.Join(known, ", ")))
	}
	policy, err := spec.Policy()
	var wrong retention.FieldErrors
	switch {
	case errors.As(err, &wrong) && len(wrong) > 0:
		return policy, function.NewArgumentFuncError(0, wrong[0].Error())
	case err != nil:
		return policy, function.NewArgumentFuncError(0, err.Error())
	}
	return policy, nil
}
