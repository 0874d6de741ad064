package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	resourceschema "github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// proposed are the attributes of a schedule that a forecast takes as the
// resource does, and whether it cannot do without.
var proposed = map[string]bool{
	"cron": true, "retention": true, "timezone": false, "jitter": false, "overlap": false, "timeout": false, "blackout": false, "paused": false,
	"max_rpo": false, "run_on_create": false, "acknowledge_removal": false, "lint_ignore": false,
}

// Schema declares what a forecast takes and says. The attributes of the
// proposal are those of the resource: what is written there can be written
// here.
func (d *forecastDataSource) Schema(ctx context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	var declared resource.SchemaResponse
	(&scheduleResource{}).Schema(ctx, resource.SchemaRequest{}, &declared)
	attributes := map[string]schema.Attribute{
		"environment": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Name of the environment that would be backed up. With it the daemon says whether it knows the environment. " +
				"Default: that of `schedule`, if given.",
		},
		"destinations": schema.ListAttribute{
			Optional: true, ElementType: types.StringType,
			MarkdownDescription: "Names of the destinations. With them the daemon says whether it knows them and who can open their backups. " +
				"Default: those of `schedule`, if given.",
			Validators: []validator.List{listvalidator.NoNullValues()},
		},
		"schedule": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "`ENVIRONMENT/NAME` or id of an existing schedule that the proposal would change. " +
				"With it the daemon says which of its backups the change would remove. Without a daemon it has no effect.",
			Validators: []validator.String{notEmpty{}},
		},
		"from": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "Instant from which the forecast looks ahead, as RFC 3339. Default: now. " +
				"Give a fixed date for an answer that is the same in every plan: an output that shows next runs from now on changes whenever a run has passed.",
			Validators: []validator.String{instant{}},
		},
		"limit": schema.Int64Attribute{
			Optional:            true,
			MarkdownDescription: fmt.Sprintf("How many next runs to list, 1 to %d. Default %d.", maxNext, defaultRuns),
			Validators:          []validator.Int64{int64validator.Between(1, maxNext)},
		},

		"valid": schema.BoolAttribute{
			Computed:            true,
			MarkdownDescription: "Whether such a schedule could be applied: no finding is an error.",
		},
		"findings": schema.ListNestedAttribute{
			Computed: true,
			MarkdownDescription: "What a plan of such a schedule would say, errors first. With a daemon that answers, its limits are among them, " +
				"and what it knows of `environment`, `destinations` and `schedule`.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"severity": computedText("`error` or `warning`."),
				"rule":     computedText("Name by which `lint_ignore` silences a warning; null for an error."),
				"path":     computedText("The attribute, such as `cron` or `retention.keep_daily`."),
				"summary":  computedText("What is wrong, without values."),
				"detail":   computedText("Why it matters and what to write instead."),
			}},
		},
		"summary":        computedText("In words: when it would run and what it would keep; null while that is not valid."),
		"worst_case_gap": computedText("The longest time between two runs, over the years 2000 to 2040; null while that is not valid."),
		"max_backups": schema.Int64Attribute{
			Computed:            true,
			MarkdownDescription: "The most backups that the rules keep at any time at each destination, without manual and held ones and those that wait for `prune_grace`; null with `keep_all`, and while something is not valid.",
		},
		"runs_per_day": schema.Float64Attribute{Computed: true, MarkdownDescription: "How many runs a day there are on average, over the 28 days after `from`."},
		"next_runs": schema.ListNestedAttribute{
			Computed: true,
			MarkdownDescription: "The next runs after `from`, in the schedule's time zone, without those that a blackout window skips. " +
				"Empty while the proposal is paused or something is not valid.",
			NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
				"at":         computedText("When the run starts, as RFC 3339."),
				"nominal_at": computedText("The instant that `cron` selects. It differs from `at` when a blackout window defers the run, and by the jitter of an existing `schedule`."),
			}},
		},
		"restore_points": schema.SingleNestedAttribute{
			Computed: true,
			MarkdownDescription: "What could be restored at each destination after a while, if every run succeeds: of the proposal alone, without backups that exist already. " +
				"A new schedule has one from its creation on, unless `run_on_create = false`. Each prune follows its run: " +
				"manual and held backups, and the `prune_grace` in which removals wait after an edit, come on top. Null while something is not valid.",
			Attributes: map[string]schema.Attribute{
				"day":    restorePoints("A day after `from`."),
				"month":  restorePoints("30 days after `from`."),
				"year":   restorePoints("365 days after `from`."),
				"steady": restorePoints("When nothing grows any more; the state after the year when `unbounded`."),
				"unbounded": schema.BoolAttribute{
					Computed: true, MarkdownDescription: "Whether the number never stops growing (`keep_all`).",
				},
			},
		},
	}
	for name, required := range proposed {
		a := declared.Schema.Attributes[name]
		attributes[name] = forData(a, required)
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "What a schedule would do, without making one: when it would run next, how many restore points there would be over time, " +
			"and everything that a plan of it would say. Something wrong is no error here but a finding, and `valid` is false.\n\n" +
			"It needs no daemon. When one answers, its limits count too. What it says of next runs and restore points depends on the moment of the plan unless `from` is given.",
		Attributes: attributes,
	}
}

func computedText(description string) schema.StringAttribute {
	return schema.StringAttribute{Computed: true, MarkdownDescription: description}
}

func restorePoints(description string) schema.SingleNestedAttribute {
	return schema.SingleNestedAttribute{
		Computed: true, MarkdownDescription: description,
		Attributes: map[string]schema.Attribute{
			"backups":    schema.Int64Attribute{Computed: true, MarkdownDescription: "How many backups there are."},
			"oldest_age": computedText("How old the oldest of them is; null while there is none."),
		},
	}
}

// forData declares an attribute of a resource as one that a data source takes:
// without default and plan modifiers, which only a resource has. It panics
// over a kind of attribute that no schedule had when this was written; every
// test that asks for the schema would see it.
func forData(a resourceschema.Attribute, required bool) schema.Attribute {
	switch a := a.(type) {
	case resourceschema.StringAttribute:
		return schema.StringAttribute{
			Required: required, Optional: !required, CustomType: a.CustomType, MarkdownDescription: a.MarkdownDescription, Validators: a.Validators,
		}
	case resourceschema.BoolAttribute:
		return schema.BoolAttribute{Required: required, Optional: !required, MarkdownDescription: a.MarkdownDescription}
	case resourceschema.Int64Attribute:
		return schema.Int64Attribute{Required: required, Optional: !required, MarkdownDescription: a.MarkdownDescription, Validators: a.Validators}
	case resourceschema.ListAttribute:
		return schema.ListAttribute{
			Required: required, Optional: !required, ElementType: a.ElementType, MarkdownDescription: a.MarkdownDescription, Validators: a.Validators,
		}
	case resourceschema.SingleNestedAttribute:
		return schema.SingleNestedAttribute{
			Required: required, Optional: !required, MarkdownDescription: a.MarkdownDescription, Attributes: forDataAll(a.Attributes),
		}
	case resourceschema.MapNestedAttribute:
		return schema.MapNestedAttribute{
			Required: required, Optional: !required, MarkdownDescription: a.MarkdownDescription, Validators: a.Validators,
			NestedObject: schema.NestedAttributeObject{Attributes: forDataAll(a.NestedObject.Attributes)},
		}
	}
	panic(fmt.Sprintf("a forecast cannot take an attribute of type %T", a))
}

func forDataAll(declared map[string]resourceschema.Attribute) map[string]schema.Attribute {
	attributes := map[string]schema.Attribute{}
	for name, a := range declared {
		attributes[name] = forData(a, a.IsRequired())
	}
	return attributes
}
