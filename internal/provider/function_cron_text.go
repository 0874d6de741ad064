package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/function"
)

// cronDescribeFunction says an expression in words.
type cronDescribeFunction struct{}

func newCronDescribeFunction() function.Function { return &cronDescribeFunction{} }

func (f *cronDescribeFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "cron_describe"
}

func (f *cronDescribeFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary:             "A cron expression in words",
		MarkdownDescription: "Returns in English when the expression runs, such as `every day at 02:30`. It is made from what was parsed, so it says what will happen.",
		Parameters:          []function.Parameter{expressionParameter()},
		Return:              function.StringReturn{},
	}
}

func (f *cronDescribeFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var expression string
	if resp.Error = req.Arguments.Get(ctx, &expression); resp.Error != nil {
		return
	}
	schedule, wrong := parseExpression(0, expression)
	if resp.Error = wrong; wrong != nil {
		return
	}
	resp.Error = resp.Result.Set(ctx, schedule.Describe())
}

// cronNormalizeFunction rewrites an expression in its canonical form.
type cronNormalizeFunction struct{}

func newCronNormalizeFunction() function.Function { return &cronNormalizeFunction{} }

func (f *cronNormalizeFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "cron_normalize"
}

func (f *cronNormalizeFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "The canonical form of a cron expression",
		MarkdownDescription: "Returns the expression in digits: macros, names, `7` for Sunday and `?` are replaced and lists are sorted. " +
			"Compare two expressions by it, or check one in a variable's `validation`.",
		Parameters: []function.Parameter{expressionParameter()},
		Return:     function.StringReturn{},
	}
}

func (f *cronNormalizeFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var expression string
	if resp.Error = req.Arguments.Get(ctx, &expression); resp.Error != nil {
		return
	}
	schedule, wrong := parseExpression(0, expression)
	if resp.Error = wrong; wrong != nil {
		return
	}
	resp.Error = resp.Result.Set(ctx, schedule.Canonical())
}

// worstCaseGapFunction returns the longest time between two runs.
type worstCaseGapFunction struct{}

func newWorstCaseGapFunction() function.Function { return &worstCaseGapFunction{} }

func (f *worstCaseGapFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "worst_case_gap"
}

func (f *worstCaseGapFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "The longest time between two runs",
		MarkdownDescription: "Returns the longest time between two runs of the expression over the years 2000 to 2040, such as `25h`: " +
			"changes of the clock, short months and leap years included.",
		Parameters: []function.Parameter{expressionParameter(), timezoneParameter()},
		Return:     function.StringReturn{},
	}
}

func (f *worstCaseGapFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var expression, timezone string
	if resp.Error = req.Arguments.Get(ctx, &expression, &timezone); resp.Error != nil {
		return
	}
	schedule, wrongExpression := parseExpression(0, expression)
	loc, wrongZone := parseZone(1, timezone)
	if resp.Error = function.ConcatFuncErrors(wrongExpression, wrongZone); resp.Error != nil {
		return
	}
	resp.Error = resp.Result.Set(ctx, schedule.Gaps(loc).String())
}
