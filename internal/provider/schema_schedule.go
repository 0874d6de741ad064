package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Schema declares what a schedule has. Grammar, ranges and everything that
// concerns several attributes stand in ValidateConfig, which asks package
// preflight; the few validators here are about words that preflight never
// sees. Each attribute costs about 0.2 ms of CPU for each schedule of a plan.
func (r *scheduleResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A standing order: when an environment is backed up, where to, and how long its backups are kept.\n\n" +
			"A wrong cron expression, or a retention that keeps nothing, is an error in `terraform plan`. So is an edit that would remove " +
			"many existing backups, until `acknowledge_removal` says how many.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the schedule within its environment: 1 to 63 lower-case letters, digits, `.`, `_` and `-`. It can be changed.",
			},
			"environment": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "Name of the environment. Another one makes another schedule (replacement).",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.RequiresReplace()},
			},
			"destinations": schema.ListAttribute{
				Required: true, ElementType: types.StringType,
				MarkdownDescription: "Names of the destinations. Each has every backup, and retention holds for each by itself.",
				Validators:          []validator.List{listvalidator.NoNullValues()},
			},
			"cron": schema.StringAttribute{
				Required: true, CustomType: spelledType{notation: cronNotation},
				MarkdownDescription: "When it runs: minute, hour, day of month, month, day of week, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. " +
					"Another spelling of the same times is no change.",
				PlanModifiers: []planmodifier.String{keepSpelling{cronNotation}},
			},
			"timezone": schema.StringAttribute{
				Optional: true, Computed: true, Default: stringdefault.StaticString("UTC"),
				MarkdownDescription: "IANA time zone in which `cron` is read and retention counts days, such as `Europe/Berlin`. Default `UTC`.",
				Validators:          []validator.String{notEmpty{}},
			},
			"retention": schema.SingleNestedAttribute{
				Required:            true,
				MarkdownDescription: "What is kept. A backup that any rule keeps is kept, and the newest good backup always is.",
				Attributes:          retentionAttributes(),
			},
			"description": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Free text for people.",
				Validators:          []validator.String{stringvalidator.LengthAtMost(1000)},
			},
			"jitter":          durationAttribute("Runs start up to this much later than `cron` says, each schedule by its own fixed share, so that they do not all start at once. Default none."),
			"catch_up":        optionalBool("Whether a run that was missed because the daemon was down is made up for. Default `true`."),
			"catch_up_within": durationAttribute("How late a missed run may still be made up for. Default: half the gap to the next run, at least the smaller of that gap and `24h`."),
			"overlap": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "What happens when the previous run still goes: `skip` (default) skips the new one, `queue` lets the newest wait.",
			},
			"start_deadline": durationAttribute("A run that could not start within this time is given up as missed. Default `2h`."),
			"timeout":        durationAttribute("Longest time of one attempt. Default `6h`."),
			"retries": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "How many attempts may follow a failed one, for failures that another attempt can mend. Default 3.",
			},
			"blackout": schema.MapNestedAttribute{
				Optional:            true,
				MarkdownDescription: "Windows in which no run starts, by a name of your choice, in the schedule's time zone.",
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1)},
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"days": schema.StringAttribute{
						Optional: true, CustomType: spelledType{notation: weekdayNotation},
						MarkdownDescription: "Days of the week on which the window begins, as in cron: `MON-FRI`, which is also `1-5`. Default every day.",
						PlanModifiers:       []planmodifier.String{keepSpelling{weekdayNotation}},
						Validators:          []validator.String{notEmpty{}},
					},
					"from": schema.StringAttribute{Required: true, MarkdownDescription: "Begin, as `HH:MM`."},
					"to":   schema.StringAttribute{Required: true, MarkdownDescription: "End, as `HH:MM`; at or before `from` it lies on the next day."},
					"action": schema.StringAttribute{
						Optional:            true,
						MarkdownDescription: "`defer` (default) starts the run at the end of the window, `skip` leaves it out.",
					},
				}},
			},
			"paused": schema.BoolAttribute{
				Optional: true, Computed: true, Default: booldefault.StaticBool(false),
				MarkdownDescription: "Whether the schedule rests. Nothing is made up for when it goes on. Default `false`.",
			},
			"max_rpo":       durationAttribute("An assertion: the plan fails when two runs can lie further apart than this. Daylight saving time, short months and blackouts count."),
			"run_on_create": optionalBool("Whether the first backup is taken right after creation. Default `true`."),
			"verify": schema.SingleNestedAttribute{
				Optional: true,
				MarkdownDescription: "Proves backups by themselves: after a run, the newest complete backup is verified at each destination where the newest verified one " +
					"is older than `every`. It goes on in the background, makes way for every backup and restore of the environment, and retention keeps " +
					"the newest verified backup. A backup that fails is `damaged`, and the schedule's health says so. Without it, backups are verified only on request.",
				Attributes: verifyAttributes(),
			},
			"on_destroy": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "What happens to the backups when the schedule is destroyed: `keep` (default) or `delete`.",
			},
			"deletion_protection": optionalBool("Whether destroying the schedule is refused at plan. Default `false`."),
			"acknowledge_removal": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "How many existing backups an edit may remove where it would be an error otherwise. They still wait for `retention.prune_grace`.",
				Validators:          []validator.Int64{int64validator.AtLeast(0)},
			},
			"lint_ignore": schema.ListAttribute{
				Optional: true, ElementType: types.StringType,
				MarkdownDescription: "Names of warnings that are not shown for this schedule, such as `cron-day-or`.",
			},
			"id": idAttribute("schedule"),
			"summary": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "In words: when it runs and what it keeps. Known at plan.",
			},
			"worst_case_gap": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "The longest time between two runs, over the years 2000 to 2040. Known at plan.",
			},
			"max_backups": schema.Int64Attribute{
				Computed:            true,
				MarkdownDescription: "The most backups that the rules keep at any time at each destination, without manual and held ones and those that wait for `prune_grace`; null with `keep_all`. Known at plan.",
			},
		},
	}
}

func retentionAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"period":        durationAttribute("Keeps everything within this time of the newest good backup, and the first one beyond, such as `30d`."),
		"keep_last":     keepCount("Keeps this many of the newest backups."),
		"keep_hourly":   keepCount("Keeps the newest backup of each of the last hours that have one."),
		"keep_daily":    keepCount("Keeps the newest backup of each of the last days that have one."),
		"keep_weekly":   keepCount("Keeps the newest backup of each of the last ISO weeks that have one."),
		"keep_monthly":  keepCount("Keeps the newest backup of each of the last months that have one."),
		"keep_yearly":   keepCount("Keeps the newest backup of each of the last years that have one."),
		"keep_at_least": keepCount("Whatever the other rules say, this many good backups stay. Default 1, which is also the least."),
		"max_age":       durationAttribute("A hard limit, for privacy duties: older backups are removed even when another rule keeps them, down to `keep_at_least`."),
		"manual_period": durationAttribute("How long backups are kept that a person asked for. Default `30d`."),
		"prune_grace":   durationAttribute("How long removals wait that a person may not have meant, such as those after an edit of this block. Default `24h`."),
		"keep_all":      optionalBool("Never removes anything. Excludes all other rules."),
	}
}

func verifyAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"level": schema.StringAttribute{
			Optional: true,
			MarkdownDescription: "`read` (default) reads everything that the backup needs and checks it against its hashes; `restore` restores it into a " +
				"scratch directory of the worker and compares, for which there must be room.",
		},
		"every":        durationAttribute("How old the newest verified backup may become. Default `" + envbackup.DefaultVerifyEvery + "`."),
		"max_duration": durationAttribute("A verification that takes longer is given up; the backup is then neither proven nor refuted. Default `" + envbackup.DefaultVerifyMaxDuration + "`."),
	}
}

// durationAttribute is an optional duration in retention's grammar, with
// equivalent spellings. Preflight checks its grammar.
func durationAttribute(description string) schema.StringAttribute {
	return schema.StringAttribute{
		Optional: true, CustomType: spelledType{notation: durationNotation},
		MarkdownDescription: description,
		PlanModifiers:       []planmodifier.String{keepSpelling{durationNotation}},
		Validators:          []validator.String{notEmpty{}},
	}
}

func optionalBool(description string) schema.BoolAttribute {
	return schema.BoolAttribute{Optional: true, MarkdownDescription: description}
}

func keepCount(description string) schema.Int64Attribute {
	return schema.Int64Attribute{Optional: true, MarkdownDescription: description}
}
