package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// maxNext bounds how many runs one call lists.
const maxNext = 1000

type cronNextFunction struct{}

func newCronNextFunction() function.Function { return &cronNextFunction{} }

func (f *cronNextFunction) Metadata(_ context.Context, _ function.MetadataRequest, resp *function.MetadataResponse) {
	resp.Name = "cron_next"
}

func (f *cronNextFunction) Definition(_ context.Context, _ function.DefinitionRequest, resp *function.DefinitionResponse) {
	resp.Definition = function.Definition{
		Summary: "The next runs of a cron expression",
		MarkdownDescription: "Returns the first `count` instants strictly after `after` at which the expression runs, as RFC 3339 in the time zone. " +
			"Changes of the clock are computed exactly as the daemon does.",
		Parameters: []function.Parameter{
			expressionParameter(), timezoneParameter(), afterParameter(),
			function.Int64Parameter{Name: "count", MarkdownDescription: fmt.Sprintf("How many runs, 1 to %d.", maxNext)},
		},
		Return: function.ListReturn{ElementType: types.StringType},
	}
}

// Run takes the starting time as an argument because Terraform calls functions
// repeatedly and expects equal answers: it never reads the clock.
func (f *cronNextFunction) Run(ctx context.Context, req function.RunRequest, resp *function.RunResponse) {
	var expression, timezone, after string
	var count int64
	if resp.Error = req.Arguments.Get(ctx, &expression, &timezone, &after, &count); resp.Error != nil {
		return
	}
	schedule, wrongExpression := parseExpression(0, expression)
	loc, wrongZone := parseZone(1, timezone)
	from, wrongInstant := parseInstant(2, after)
	if resp.Error = function.ConcatFuncErrors(wrongExpression, wrongZone, wrongInstant); resp.Error != nil {
		return
	}
	if count < 1 || count > maxNext {
		resp.Error = function.NewArgumentFuncError(3, fmt.Sprintf("it must be between 1 and %d", maxNext))
		return
	}
	runs, err := schedule.NextN(from, loc, int(count))
	if err != nil {
		resp.Error = function.NewFuncError(err.Error())
		return
	}
	texts := make([]string, len(runs))
	for i, run := range runs {
		texts[i] = run.Format(time.RFC3339)
	}
	resp.Error = resp.Result.Set(ctx, texts)
}
