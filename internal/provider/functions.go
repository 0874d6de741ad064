package provider

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/function"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// The parameters that several functions share. Terraform repeats a function's
// arguments in its error itself, so the texts carry the reason only, on one
// line and without a full stop at the end.

func expressionParameter() function.Parameter {
	return function.StringParameter{Name: "expression", MarkdownDescription: "Cron expression of five fields, or a macro such as `@daily`."}
}

func timezoneParameter() function.Parameter {
	return function.StringParameter{Name: "timezone", MarkdownDescription: "IANA time zone, such as `Europe/Berlin` or `UTC`."}
}

func afterParameter() function.Parameter {
	return function.StringParameter{
		Name:                "after",
		MarkdownDescription: "Instant as RFC 3339, such as `2026-03-28T00:00:00Z`. Functions read no clock: give `plantimestamp()` for now.",
	}
}

func parseExpression(position int64, text string) (*cron.Schedule, *function.FuncError) {
	s, err := cron.Parse(text)
	if err == nil {
		return s, nil
	}
	var wrong *cron.ParseError
	if errors.As(err, &wrong) {
		return nil, function.NewArgumentFuncError(position, wrong.Reason())
	}
	return nil, function.NewArgumentFuncError(position, err.Error())
}

func parseZone(position int64, name string) (*time.Location, *function.FuncError) {
	loc, err := cron.LoadZone(name)
	if err == nil {
		return loc, nil
	}
	var wrong *cron.ZoneError
	switch {
	case !errors.As(err, &wrong):
		return nil, function.NewArgumentFuncError(position, err.Error())
	case strings.EqualFold(name, "local"):
		return nil, function.NewArgumentFuncError(position, "what is local depends on the machine; name the zone, such as Europe/Berlin")
	case len(wrong.Suggestions) == 0:
		return nil, function.NewArgumentFuncError(position, wrong.Error())
	}
	return nil, function.NewArgumentFuncError(position,
		fmt.Sprintf("%q is not an IANA time zone; perhaps it is meant to be %s", name, strings.Join(wrong.Suggestions, " or ")))
}

func parseInstant(position int64, text string) (time.Time, *function.FuncError) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, function.NewArgumentFuncError(position, "it is not an RFC 3339 instant such as 2026-03-28T00:00:00Z")
	}
	return t, nil
}
