package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// scheduleModel holds a schedule in configuration, plan or state; everything
// in it may be unknown.
type scheduleModel struct {
	ID                 types.String `tfsdk:"id"`
	Name               types.String `tfsdk:"name"`
	Description        types.String `tfsdk:"description"`
	Environment        types.String `tfsdk:"environment"`
	Destinations       types.List   `tfsdk:"destinations"`
	Cron               spelled      `tfsdk:"cron"`
	Timezone           types.String `tfsdk:"timezone"`
	Retention          types.Object `tfsdk:"retention"`
	Jitter             spelled      `tfsdk:"jitter"`
	CatchUp            types.Bool   `tfsdk:"catch_up"`
	CatchUpWithin      spelled      `tfsdk:"catch_up_within"`
	Overlap            types.String `tfsdk:"overlap"`
	StartDeadline      spelled      `tfsdk:"start_deadline"`
	Timeout            spelled      `tfsdk:"timeout"`
	Retries            types.Int64  `tfsdk:"retries"`
	Blackout           types.Map    `tfsdk:"blackout"`
	Paused             types.Bool   `tfsdk:"paused"`
	MaxRPO             spelled      `tfsdk:"max_rpo"`
	RunOnCreate        types.Bool   `tfsdk:"run_on_create"`
	Verify             types.Object `tfsdk:"verify"`
	OnDestroy          types.String `tfsdk:"on_destroy"`
	DeletionProtection types.Bool   `tfsdk:"deletion_protection"`
	AcknowledgeRemoval types.Int64  `tfsdk:"acknowledge_removal"`
	LintIgnore         types.List   `tfsdk:"lint_ignore"`
	Summary            types.String `tfsdk:"summary"`
	WorstCaseGap       types.String `tfsdk:"worst_case_gap"`
	MaxBackups         types.Int64  `tfsdk:"max_backups"`
}

type retentionModel struct {
	Period       spelled     `tfsdk:"period"`
	KeepLast     types.Int64 `tfsdk:"keep_last"`
	KeepHourly   types.Int64 `tfsdk:"keep_hourly"`
	KeepDaily    types.Int64 `tfsdk:"keep_daily"`
	KeepWeekly   types.Int64 `tfsdk:"keep_weekly"`
	KeepMonthly  types.Int64 `tfsdk:"keep_monthly"`
	KeepYearly   types.Int64 `tfsdk:"keep_yearly"`
	KeepAtLeast  types.Int64 `tfsdk:"keep_at_least"`
	MaxAge       spelled     `tfsdk:"max_age"`
	ManualPeriod spelled     `tfsdk:"manual_period"`
	PruneGrace   spelled     `tfsdk:"prune_grace"`
	KeepAll      types.Bool  `tfsdk:"keep_all"`
}

type verifyModel struct {
	Level       types.String `tfsdk:"level"`
	Every       spelled      `tfsdk:"every"`
	MaxDuration spelled      `tfsdk:"max_duration"`
}

type blackoutModel struct {
	Days   spelled      `tfsdk:"days"`
	From   types.String `tfsdk:"from"`
	To     types.String `tfsdk:"to"`
	Action types.String `tfsdk:"action"`
}

// The types of the nested attributes, as the schema declares them, and the
// fields that hold them.
var (
	scheduleFields  = fieldsOf[scheduleModel]()
	retentionFields = fieldsOf[retentionModel]()
	verifyFields    = fieldsOf[verifyModel]()
	blackoutFields  = fieldsOf[blackoutModel]()

	durationType   = spelledType{notation: durationNotation}
	retentionTypes = map[string]attr.Type{
		"period": durationType, "keep_last": types.Int64Type, "keep_hourly": types.Int64Type, "keep_daily": types.Int64Type,
		"keep_weekly": types.Int64Type, "keep_monthly": types.Int64Type, "keep_yearly": types.Int64Type, "keep_at_least": types.Int64Type,
		"max_age": durationType, "manual_period": durationType, "prune_grace": durationType, "keep_all": types.BoolType,
	}
	verifyTypes = map[string]attr.Type{"level": types.StringType, "every": durationType, "max_duration": durationType}

	blackoutTypes = map[string]attr.Type{
		"days": spelledType{notation: weekdayNotation}, "from": types.StringType, "to": types.StringType, "action": types.StringType,
	}
)

// spec returns the schedule as the daemon takes it. Unknown values come out
// as if they were not given; callers that can meet them ask preflight through
// a proposal instead.
func (m scheduleModel) spec(context.Context) (envbackup.ScheduleSpec, diag.Diagnostics) {
	s := envbackup.ScheduleSpec{
		Name: m.Name.ValueString(), Description: m.Description.ValueString(), Environment: m.Environment.ValueString(),
		Destinations: texts(m.Destinations), Cron: m.Cron.ValueString(), Timezone: m.Timezone.ValueString(),
		Jitter: m.Jitter.ValueString(), CatchUp: boolPointer(m.CatchUp), CatchUpWithin: m.CatchUpWithin.ValueString(),
		Overlap: m.Overlap.ValueString(), StartDeadline: m.StartDeadline.ValueString(), Timeout: m.Timeout.ValueString(),
		Retries: intPointer(m.Retries), Paused: m.Paused.ValueBool(), MaxRPO: m.MaxRPO.ValueString(),
		RunOnCreate: boolPointer(m.RunOnCreate), OnDestroy: m.OnDestroy.ValueString(),
		DeletionProtection: m.DeletionProtection.ValueBool(), AcknowledgeRemoval: intPointer(m.AcknowledgeRemoval),
		LintIgnore: texts(m.LintIgnore),
	}
	var diags diag.Diagnostics
	if present(m.Retention) {
		r, err := retentionFields.from(m.Retention.Attributes())
		if err != nil {
			diags.AddAttributeError(path.Root("retention"), "Cannot read the retention", err.Error())
		}
		s.Retention = r.spec()
	}
	if present(m.Verify) {
		v, err := verifyFields.from(m.Verify.Attributes())
		if err != nil {
			diags.AddAttributeError(path.Root("verify"), "Cannot read the verification", err.Error())
		}
		s.Verify = &envbackup.VerifySpec{Level: v.Level.ValueString(), Every: v.Every.ValueString(), MaxDuration: v.MaxDuration.ValueString()}
	}
	if present(m.Blackout) {
		s.Blackout = map[string]envbackup.Blackout{}
		for name, value := range m.Blackout.Elements() {
			object, ok := value.(types.Object)
			if !ok || !present(object) {
				continue
			}
			b, err := blackoutFields.from(object.Attributes())
			if err != nil {
				diags.AddAttributeError(path.Root("blackout").AtMapKey(name), "Cannot read the blackout", err.Error())
			}
			s.Blackout[name] = envbackup.Blackout{
				Days: b.Days.ValueString(), From: b.From.ValueString(), To: b.To.ValueString(), Action: b.Action.ValueString(),
			}
		}
	}
	return s, diags
}

func (r retentionModel) spec() retention.Spec {
	return retention.Spec{
		Period: r.Period.ValueString(), KeepLast: intPointer(r.KeepLast), KeepHourly: intPointer(r.KeepHourly),
		KeepDaily: intPointer(r.KeepDaily), KeepWeekly: intPointer(r.KeepWeekly), KeepMonthly: intPointer(r.KeepMonthly),
		KeepYearly: intPointer(r.KeepYearly), KeepAtLeast: intPointer(r.KeepAtLeast), MaxAge: r.MaxAge.ValueString(),
		ManualPeriod: r.ManualPeriod.ValueString(), PruneGrace: r.PruneGrace.ValueString(), KeepAll: r.KeepAll.ValueBool(),
	}
}

// read fills the model from the daemon's answer. An attribute that state
// leaves out stays out when the daemon has its default.
func (m *scheduleModel) read(_ context.Context, s wire.Schedule) diag.Diagnostics {
	var diags diag.Diagnostics
	m.ID, m.Name, m.Environment = types.StringValue(s.ID), types.StringValue(s.Name), types.StringValue(s.Environment)
	m.Description = textOrNull(m.Description, s.Description)
	m.Destinations = listOf(m.Destinations, s.Destinations)
	m.Cron, m.Timezone = spelledOf(cronNotation, s.Cron), types.StringValue(s.Zone())
	m.Jitter, m.CatchUpWithin = spelledOf(durationNotation, s.Jitter), spelledOf(durationNotation, s.CatchUpWithin)
	m.StartDeadline = defaultedDuration(m.StartDeadline, s.StartDeadline, "2h")
	m.Timeout = defaultedDuration(m.Timeout, s.Timeout, "6h")
	m.MaxRPO = spelledOf(durationNotation, s.MaxRPO)
	m.CatchUp = defaultedBool(m.CatchUp, s.CatchUp, true)
	m.Overlap = defaulted(m.Overlap, s.Overlap, "skip")
	m.Retries = defaultedInt(m.Retries, s.Retries, 3)
	m.Paused = types.BoolValue(s.Paused)
	m.RunOnCreate = defaultedBool(m.RunOnCreate, s.RunOnCreate, true)
	m.OnDestroy = defaulted(m.OnDestroy, s.OnDestroy, "keep")
	protected := s.DeletionProtection
	m.DeletionProtection = defaultedBool(m.DeletionProtection, &protected, false)
	if m.AcknowledgeRemoval = types.Int64Null(); s.AcknowledgeRemoval != nil {
		m.AcknowledgeRemoval = types.Int64Value(*s.AcknowledgeRemoval)
	}
	m.LintIgnore = listOf(m.LintIgnore, s.LintIgnore)

	retained, d := m.readRetention(s.Retention)
	diags.Append(d...)
	m.Retention = retained
	verify, d := m.readVerify(s.Verify)
	diags.Append(d...)
	m.Verify = verify
	blackout, d := m.readBlackout(s.Blackout)
	diags.Append(d...)
	m.Blackout = blackout
	return diags
}

func (m *scheduleModel) readRetention(s retention.Spec) (types.Object, diag.Diagnostics) {
	var prior retentionModel
	if present(m.Retention) {
		var err error
		if prior, err = retentionFields.from(m.Retention.Attributes()); err != nil {
			return m.Retention, diag.Diagnostics{diag.NewAttributeErrorDiagnostic(path.Root("retention"), "Cannot read the retention", err.Error())}
		}
	}
	keepAll := s.KeepAll
	return types.ObjectValue(retentionTypes, retentionFields.values(&retentionModel{
		Period: spelledOf(durationNotation, s.Period), KeepLast: numberOrNull(s.KeepLast), KeepHourly: numberOrNull(s.KeepHourly),
		KeepDaily: numberOrNull(s.KeepDaily), KeepWeekly: numberOrNull(s.KeepWeekly), KeepMonthly: numberOrNull(s.KeepMonthly),
		KeepYearly: numberOrNull(s.KeepYearly), KeepAtLeast: defaultedInt(prior.KeepAtLeast, s.KeepAtLeast, retention.DefaultAtLeast),
		MaxAge:       spelledOf(durationNotation, s.MaxAge),
		ManualPeriod: defaultedDuration(prior.ManualPeriod, s.ManualPeriod, retention.DefaultManualPeriod),
		PruneGrace:   defaultedDuration(prior.PruneGrace, s.PruneGrace, retention.DefaultPruneGrace),
		KeepAll:      defaultedBool(prior.KeepAll, &keepAll, false),
	}))
}

func (m *scheduleModel) readVerify(s *envbackup.VerifySpec) (types.Object, diag.Diagnostics) {
	if s == nil {
		return types.ObjectNull(verifyTypes), nil
	}
	var prior verifyModel
	if present(m.Verify) {
		var err error
		if prior, err = verifyFields.from(m.Verify.Attributes()); err != nil {
			return m.Verify, diag.Diagnostics{diag.NewAttributeErrorDiagnostic(path.Root("verify"), "Cannot read the verification", err.Error())}
		}
	}
	return types.ObjectValue(verifyTypes, verifyFields.values(&verifyModel{
		Level:       defaulted(prior.Level, s.Level, string(envbackup.VerifyRead)),
		Every:       defaultedDuration(prior.Every, s.Every, envbackup.DefaultVerifyEvery),
		MaxDuration: defaultedDuration(prior.MaxDuration, s.MaxDuration, envbackup.DefaultVerifyMaxDuration),
	}))
}

func (m *scheduleModel) readBlackout(windows map[string]envbackup.Blackout) (types.Map, diag.Diagnostics) {
	object := types.ObjectType{AttrTypes: blackoutTypes}
	if len(windows) == 0 {
		return types.MapNull(object), nil
	}
	prior := map[string]blackoutModel{}
	if present(m.Blackout) {
		for name, value := range m.Blackout.Elements() {
			if o, ok := value.(types.Object); ok && present(o) {
				if b, err := blackoutFields.from(o.Attributes()); err == nil {
					prior[name] = b
				}
			}
		}
	}
	var diags diag.Diagnostics
	values := map[string]attr.Value{}
	for name, w := range windows {
		value, d := types.ObjectValue(blackoutTypes, blackoutFields.values(&blackoutModel{
			Days: spelledOf(weekdayNotation, w.Days), From: types.StringValue(w.From), To: types.StringValue(w.To),
			Action: defaulted(prior[name].Action, w.Action, "defer"),
		}))
		diags.Append(d...)
		values[name] = value
	}
	blackout, d := types.MapValue(object, values)
	diags.Append(d...)
	return blackout, diags
}

// defaultedDuration is defaulted for durations.
func defaultedDuration(prior spelled, text, byDefault string) spelled {
	if prior.IsNull() && durationNotation.same(text, byDefault) {
		return spelledOf(durationNotation, "")
	}
	return spelledOf(durationNotation, text)
}

func numberOrNull(n *int64) types.Int64 {
	if n == nil {
		return types.Int64Null()
	}
	return types.Int64Value(*n)
}

// listOf returns the texts as a list; null for none, unless state has the
// empty list.
func listOf(prior types.List, texts []string) types.List {
	if len(texts) == 0 && (prior.IsNull() || prior.IsUnknown()) {
		return types.ListNull(types.StringType)
	}
	elements := make([]attr.Value, len(texts))
	for i, text := range texts {
		elements[i] = types.StringValue(text)
	}
	return types.ListValueMust(types.StringType, elements)
}

// texts returns the known elements of a list of strings.
func texts(list types.List) []string {
	var out []string
	for _, element := range list.Elements() {
		if s, ok := element.(types.String); ok && present(s) {
			out = append(out, s.ValueString())
		}
	}
	return out
}

func present(v attr.Value) bool { return !v.IsNull() && !v.IsUnknown() }

func boolPointer(v types.Bool) *bool {
	if !present(v) {
		return nil
	}
	return v.ValueBoolPointer()
}

func intPointer(v types.Int64) *int64 {
	if !present(v) {
		return nil
	}
	return v.ValueInt64Pointer()
}
