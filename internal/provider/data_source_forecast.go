package provider

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var _ datasource.DataSourceWithConfigure = (*forecastDataSource)(nil)

// defaultRuns is how many next runs a forecast lists.
const defaultRuns = 5

// forecastDataSource says what a schedule would do, without making one. It is
// the one place of the provider that reads a clock: a data source is read once
// for a plan, and what was read is stored in it.
type forecastDataSource struct{ session *session }

func newForecastDataSource() datasource.DataSource { return &forecastDataSource{} }

type forecastModel struct {
	Cron               spelled      `tfsdk:"cron"`
	Timezone           types.String `tfsdk:"timezone"`
	Retention          types.Object `tfsdk:"retention"`
	Jitter             spelled      `tfsdk:"jitter"`
	Overlap            types.String `tfsdk:"overlap"`
	Timeout            spelled      `tfsdk:"timeout"`
	Blackout           types.Map    `tfsdk:"blackout"`
	Paused             types.Bool   `tfsdk:"paused"`
	MaxRPO             spelled      `tfsdk:"max_rpo"`
	RunOnCreate        types.Bool   `tfsdk:"run_on_create"`
	AcknowledgeRemoval types.Int64  `tfsdk:"acknowledge_removal"`
	LintIgnore         types.List   `tfsdk:"lint_ignore"`
	Schedule           types.String `tfsdk:"schedule"`
	Environment        types.String `tfsdk:"environment"`
	Destinations       types.List   `tfsdk:"destinations"`
	From               types.String `tfsdk:"from"`
	Limit              types.Int64  `tfsdk:"limit"`

	Valid         types.Bool          `tfsdk:"valid"`
	Findings      []findingModel      `tfsdk:"findings"`
	Summary       types.String        `tfsdk:"summary"`
	WorstCaseGap  types.String        `tfsdk:"worst_case_gap"`
	MaxBackups    types.Int64         `tfsdk:"max_backups"`
	RunsPerDay    types.Float64       `tfsdk:"runs_per_day"`
	NextRuns      []nextRunModel      `tfsdk:"next_runs"`
	RestorePoints *restorePointsModel `tfsdk:"restore_points"`
}

type findingModel struct {
	Severity types.String `tfsdk:"severity"`
	Rule     types.String `tfsdk:"rule"`
	Path     types.String `tfsdk:"path"`
	Summary  types.String `tfsdk:"summary"`
	Detail   types.String `tfsdk:"detail"`
}

type nextRunModel struct {
	At        types.String `tfsdk:"at"`
	NominalAt types.String `tfsdk:"nominal_at"`
}

type restorePointsModel struct {
	Day       pointsModel `tfsdk:"day"`
	Month     pointsModel `tfsdk:"month"`
	Year      pointsModel `tfsdk:"year"`
	Steady    pointsModel `tfsdk:"steady"`
	Unbounded types.Bool  `tfsdk:"unbounded"`
}

type pointsModel struct {
	Backups   types.Int64  `tfsdk:"backups"`
	OldestAge types.String `tfsdk:"oldest_age"`
}

// schedule returns the proposal in the shape of the resource, so that both are
// read by the same code.
func (m forecastModel) schedule() scheduleModel {
	timezone := m.Timezone
	if timezone.IsNull() {
		timezone = types.StringValue("UTC")
	}
	return scheduleModel{
		Environment: m.Environment, Destinations: m.Destinations, Cron: m.Cron, Timezone: timezone, Retention: m.Retention,
		Jitter: m.Jitter, Overlap: m.Overlap, Timeout: m.Timeout, Blackout: m.Blackout, Paused: m.Paused, MaxRPO: m.MaxRPO,
		RunOnCreate: m.RunOnCreate, AcknowledgeRemoval: m.AcknowledgeRemoval, LintIgnore: m.LintIgnore,
	}
}

// proposal returns what preflight judges. A forecast has no name, and needs
// neither an environment nor destinations: what is not given is not judged.
func (m forecastModel) proposal(ctx context.Context) (preflight.Proposal, diag.Diagnostics) {
	p, diags := m.schedule().proposal(ctx)
	p.Name = nil
	if m.Environment.IsNull() {
		p.Environment = nil
	}
	if m.Destinations.IsNull() {
		p.Destinations = nil
	}
	if m.Schedule.ValueString() != "" {
		p.RunOnCreate = new(bool) // it exists, so nothing is taken at its creation
	}
	return p, diags
}

func (d *forecastDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_forecast"
}

func (d *forecastDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

func (d *forecastDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m forecastModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	p, diags := m.proposal(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	findings := preflight.Check(p, nil, nil)
	if d.session.online(&resp.Diagnostics) {
		findings = append(findings, unsaid(d.ask(ctx, m, &p, &resp.Diagnostics), findings)...)
	}
	if resp.Diagnostics.HasError() {
		return
	}
	m.say(findings)
	if err := m.foresee(p); err != nil {
		resp.Diagnostics.AddError("Cannot make the forecast", sentence(err.Error()))
		return
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// ask returns what the daemon finds: its limits, names that it does not know,
// and, for an edit, existing backups that it would remove. The proposal learns
// the id of the schedule that is edited, which decides its share of the jitter.
func (d *forecastDataSource) ask(ctx context.Context, m forecastModel, p *preflight.Proposal, diags *diag.Diagnostics) []envbackup.Finding {
	spec, more := m.schedule().spec(ctx)
	diags.Append(more...)
	if diags.HasError() {
		return nil
	}
	in := wire.Preflight{Schedule: spec}
	if key := m.Schedule.ValueString(); key != "" {
		edited, err := d.session.client.Schedule(ctx, key)
		switch {
		case envbackup.CodeOf(err) == envbackup.CodeNotFound:
			diags.AddAttributeError(path.Root("schedule"), "Schedule does not exist",
				fmt.Sprintf("The daemon has no schedule %q. Write ENVIRONMENT/NAME or the id of one that exists, or leave schedule out to forecast a new one. "+
					"List them with:  envbackup schedules list", key))
			return nil
		case err != nil:
			d.session.lookupFailed(diags, "forecast the schedule", err)
			return nil
		}
		in.ID, in.Schedule.Name = edited.ID, edited.Name
		p.ID = edited.ID
		if m.Environment.IsNull() {
			in.Schedule.Environment = edited.Environment
		}
		if m.Destinations.IsNull() {
			in.Schedule.Destinations = edited.Destinations
		}
	}
	if name := m.Environment.ValueString(); d.session.plans("environment", name) {
		in.PlannedEnvironments = []string{name}
	}
	for _, name := range texts(m.Destinations) {
		if d.session.plans("destination", name) {
			in.PlannedDestinations = append(in.PlannedDestinations, name)
		}
	}
	result, err := d.session.client.Preflight(ctx, in)
	if err != nil {
		d.session.lookupFailed(diags, "forecast the schedule", err)
		return nil
	}
	// What was not asked about is not wrong.
	return slices.DeleteFunc(result.Findings, func(f envbackup.Finding) bool {
		name, _ := cutName(f.Path)
		return name == "name" || name == "environment" && m.Environment.IsNull() || name == "destinations" && m.Destinations.IsNull()
	})
}

// say writes the findings, errors first.
func (m *forecastModel) say(findings []envbackup.Finding) {
	m.Valid, m.Findings = types.BoolValue(!envbackup.HasError(findings)), []findingModel{}
	for _, wanted := range []bool{true, false} {
		for _, f := range findings {
			if (f.Severity == envbackup.SeverityError) != wanted {
				continue
			}
			m.Findings = append(m.Findings, findingModel{
				Severity: types.StringValue(string(f.Severity)), Rule: textOrNull(types.StringNull(), f.Rule),
				Path: types.StringValue(f.Path), Summary: types.StringValue(f.Summary), Detail: types.StringValue(f.Detail),
			})
		}
	}
}

// foresee computes what the schedule does. What cannot be said because
// something is wrong stays null, and the findings say why.
func (m *forecastModel) foresee(p preflight.Proposal) error {
	from := time.Now().UTC()
	if text := m.From.ValueString(); text != "" {
		var err error
		if from, err = time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("read from: %w", err) // the validator has refused it
		}
	}
	limit := int64(defaultRuns)
	if !m.Limit.IsNull() {
		limit = m.Limit.ValueInt64()
	}
	m.NextRuns = []nextRunModel{}
	if f, ok := preflight.Describe(p); ok {
		m.Summary, m.WorstCaseGap = types.StringValue(f.Summary), types.StringValue(f.WorstCaseGap)
		if f.MaxBackups > 0 { // 0 is keep_all
			m.MaxBackups = types.Int64Value(f.MaxBackups)
		}
	}
	outlook, ok, err := preflight.Preview(p, from, int(limit))
	if err != nil || !ok {
		return err
	}
	m.RunsPerDay = types.Float64Value(outlook.RunsPerDay)
	for _, run := range outlook.NextRuns {
		m.NextRuns = append(m.NextRuns, nextRunModel{
			At: types.StringValue(run.Start.Format(time.RFC3339)), NominalAt: types.StringValue(run.Nominal.Format(time.RFC3339)),
		})
	}
	s := outlook.Points
	m.RestorePoints = &restorePointsModel{
		Day: pointsAt(s.Day), Month: pointsAt(s.Month), Year: pointsAt(s.Year), Steady: pointsAt(s.Steady), Unbounded: types.BoolValue(s.Unbounded),
	}
	return nil
}

func pointsAt(p retention.SimPoint) pointsModel {
	m := pointsModel{Backups: types.Int64Value(int64(p.Backups))}
	if p.Backups > 0 {
		m.OldestAge = types.StringValue(cron.FormatGap(p.Age().Truncate(time.Minute)))
	}
	return m
}
